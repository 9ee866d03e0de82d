// From what the operator allows, the box's label and what was asked for to the box's policy.
#pragma once

#include <array>

#include "policy/egress.h"
#include "policy/label.h"

namespace hako::policy {

/// The most that a box with a label may reach.
///
/// Level allow for public and internal data without a list of the operator's: whatever list the
/// request brings, but only by a list, and one that is narrower than the internet: exact names,
/// names below one that has a dot ("*.example.com", not "*.com"), networks of at most /16 (IPv6:
/// /32), and what stands on the platform's own list. Whoever asks for the internet gets the
/// platform's list. For confidential and secret data an empty list is nothing.
///
/// Where data with a higher label may go, data with a lower one may go, too; and what a lower label
/// closes stays closed for higher ones. So raising a label never opens anything, however the
/// operator sets this.
struct LabelCeiling {
  EgressLevel level = EgressLevel::none;
  std::vector<Target> allow;  ///< for level allow
  bool operator==(const LabelCeiling&) const = default;
};

/// A server of models. What goes there ends at the gate, which counts it and lets nothing through but calls
/// by a key that no box has.
struct BrokeredServer {
  Target target;                ///< one name, one port
  Label label = Label::secret;  ///< the most confidential data that may go there
  bool operator==(const BrokeredServer&) const = default;
};

/// What the operator has set.
struct EgressPlatform {
  EgressLevel ceiling = EgressLevel::none;   ///< the most that any box may have
  EgressLevel standard = EgressLevel::none;  ///< what a box gets that asks for nothing
  std::vector<Target> allow;                 ///< the operator's list, for ceiling and standard
  std::vector<Target> deny;
  std::vector<Target> private_networks;
  /// By label. Defaults: public internet; internal allow, whatever list was asked for;
  /// confidential and secret none.
  std::array<LabelCeiling, kLabels.size()> labels;
  /// Labels close everything but these: what may reach nothing else, or what a list names, may reach
  /// these, too. The other layers are asked about them as about any.
  std::vector<BrokeredServer> brokered;
  EgressLimits limits;

  EgressPlatform();
  bool operator==(const EgressPlatform&) const = default;
};

/// What a request asks for, in our words and by E2B's fields. Where both say something, both must
/// agree: neither loosens what the other says.
struct EgressRequest {
  /// Ours. Asking for more than is allowed is an error, where E2B's fields get what there is.
  std::optional<EgressLevel> level;
  std::vector<Target> own_allow;  ///< for level allow
  std::vector<Target> own_deny;   ///< on top of any level, and without one; beats `own_allow`
  /// E2B's:
  /// - nothing given: without a level the platform's standard (its list under level allow);
  /// - `deny_out` holds 0.0.0.0/0, or `allow_internet_access` is false: level allow with
  ///   `allow_out`, or none if that is empty;
  /// - else: internet, but for what `deny_out` names and `allow_out` does not.
  std::optional<bool> allow_internet_access;
  std::vector<Target> allow_out;
  std::vector<Target> deny_out;
  std::set<uint16_t> https_ports;
};

/// What whoever asks may let boxes reach at most: of their tenant, key and token, as effective()
/// gives it.
struct EgressCeilings {
  std::vector<EgressLayer> layers;     ///< named "tenant acme", "key k1", "token caveat 2"
  std::optional<int64_t> bytes_total;  ///< both directions, for the box's whole life
  bool operator==(const EgressCeilings&) const = default;
};

struct EgressPlan {
  Decision decision;  ///< denied: the request asks for what its label or the operator forbids
  /// What is left of the request, also if denied: what a running box keeps when its label rises.
  EgressPolicy policy;
};

/// Layers: "platform"; "label <label>" for each label from the box's own downwards, but for those
/// that close nothing; the ceilings' in their order; "request", twice where our words and E2B's
/// fields both say something. Denied if `request` names a level, and it or an entry of `own_allow`
/// is not let through by the label, the platform or a ceiling. Rules: "label.<label>",
/// "platform.ceiling", "platform.deny", "<ceiling's name>.egress", "request.level" (the level
/// internet without internet access). Without a level nothing is denied but cut down: E2B's SDKs
/// send `allow_internet_access: true` unasked. `limits.bytes_total` is the least of the platform's
/// and the ceilings'.
///
/// A ceiling's list is not one that a request brings: a label that asks for a list asks for the
/// request's own.
EgressPlan plan_egress(const EgressPlatform& platform, Label label, const EgressRequest& request,
                       const EgressCeilings& ceilings = {});

/// Whether data may flow along a link between boxes with these labels: only if they are equal, as
/// bytes go both ways. Rule: "link.label".
Decision may_link(Label from, Label to);

/// Whether a reader with clearance up to `clearance` may take data out of a box with `label`.
/// Rule: "label.clearance".
Decision may_read(Label clearance, Label label);

/// Whether a box may go from one label to another: never down. Rule: "label.falls".
Decision may_relabel(Label from, Label to);

}  // namespace hako::policy
