// From what the operator allows, the box's label and what was asked for to the box's policy.
#pragma once

#include <array>

#include "policy/egress.h"
#include "policy/label.h"

namespace hako::policy {

/// The most that a box with a label may reach.
struct LabelCeiling {
  EgressLevel level = EgressLevel::none;
  std::vector<Target> allow;  ///< for level allow
};

/// What the operator has set.
struct EgressPlatform {
  EgressLevel ceiling = EgressLevel::none;   ///< the most that any box may have
  EgressLevel standard = EgressLevel::none;  ///< what a box gets that asks for nothing
  std::vector<Target> allow;                 ///< under the ceiling allow: what may be asked for
  std::vector<Target> deny;
  std::vector<Target> private_networks;
  /// By label. Defaults: public internet; internal allow, whatever list was asked for;
  /// confidential and secret only what is listed here, which is nothing.
  std::array<LabelCeiling, 4> labels;
  EgressLimits limits;

  EgressPlatform();
};

/// What a request asks for; E2B's fields and ours.
struct EgressRequest {
  /// Ours. Asking for more than is allowed is an error, where E2B's fields get what there is.
  std::optional<EgressLevel> level;
  std::optional<bool> allow_internet_access;
  std::vector<Target> allow_out;
  std::vector<Target> deny_out;
  std::set<uint16_t> https_ports;
};

struct EgressPlan {
  Decision decision;    ///< denied: the request asks for what its label or the operator forbids
  EgressPolicy policy;  ///< meaningful if allowed
};

/// Layers: "platform", "label <label>", "request". Denied, with the rule ("label.confidential",
/// "platform.ceiling"), if `request` names a level or a list of its own that the label or the
/// platform does not let through; E2B's `allow_internet_access: true`, which its SDKs send unasked,
/// is capped without a word.
EgressPlan plan_egress(const EgressPlatform& platform, Label label, const EgressRequest& request);

/// Whether data may flow along a link between boxes with these labels: only if they are equal, as
/// bytes go both ways. Rule: "link.label".
Decision may_link(Label from, Label to);

/// Whether a reader with clearance up to `clearance` may take data out of a box with `label`.
/// Rule: "label.clearance".
Decision may_read(Label clearance, Label label);

/// Whether a box may go from one label to another: never down. Rule: "label.falls".
Decision may_relabel(Label from, Label to);

}  // namespace hako::policy
