// Who may do what: layers that each leave less, and one answer with a reason. Pure: no I/O, no
// clock. Permission = platform ∩ tenant ∩ key ∩ token ∩ request.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "policy/actions.h"
#include "policy/decision.h"
#include "policy/egress.h"
#include "policy/label.h"

namespace hako::policy {

/// What one source leaves of everything. A member that is nothing leaves all of it; no value of any
/// member can give more than nothing does. Where `sandboxes` is set, nothing is left but actions on
/// those boxes: no new ones, no templates, no keys.
struct Narrowing {
  std::optional<std::string> tenant;
  /// A path, "build" or "build/worker-1": what belongs to that agent and to those below it.
  std::optional<std::string> agent;
  std::optional<std::set<std::string>> sandboxes;  ///< ids; empty: none
  std::optional<std::set<std::string>> templates;  ///< names or ids a box may be made of
  std::optional<ActionSet> actions;
  std::optional<Label> label;          ///< the highest of what it may read, and of boxes it makes
  std::optional<EgressLayer> egress;   ///< the most that its boxes may reach
  std::optional<int64_t> memory_mib;   ///< of one box
  std::optional<int64_t> vcpus;        ///< of one box
  std::optional<int64_t> ttl_s;        ///< of one box, from when it was made; the platform's from now
  std::optional<int64_t> boxes;        ///< alive at once, of those made under this very layer
  std::optional<int64_t> egress_bytes; ///< of one box, for its whole life, both directions
  std::optional<std::set<std::string>> models;  ///< names its boxes may call; "gpt-*" by beginnings
  /// What boxes made under this very layer may call for in all, ever: calls, tokens of all kinds,
  /// millionths of a dollar.
  std::optional<int64_t> model_requests, model_tokens, model_microusd;
  std::optional<int64_t> expires_ms;   ///< Unix milliseconds: from then on nothing is left
  bool operator==(const Narrowing&) const = default;
};

/// Whether something is counted under it.
bool counts(const Narrowing& leaves);
bool counts_model_calls(const Narrowing& leaves);

/// The actions that it leaves, also by its other members: of single boxes only those on boxes, and
/// of an agent not tenant.manage, as tenants are no agent's.
ActionSet actions_left(const Narrowing& leaves);

/// A tenant's name, or an agent's path: [a-z0-9] with '-', '_' and '.' inside, at most 64 bytes for
/// each part; an agent's parts are joined by '/', eight at most.
bool is_tenant_name(std::string_view name);
bool is_agent_path(std::string_view path);
/// Whether `path` is `above` or below it. Everything is below the empty path, which is the tenant.
bool is_at_or_below(std::string_view path, std::string_view above);

struct PermissionLayer {
  /// "platform", "tenant acme", "key k1a2", "token caveat 2", "request": begins the rule's name.
  std::string name;
  Narrowing leaves;
  /// Names this very layer for counting `boxes` and what models cost; empty unless one of these is set.
  std::string budget;
  bool operator==(const PermissionLayer&) const = default;
};

/// From the widest to the narrowest. Without a layer everything is allowed, so whoever makes one
/// begins with the platform's and a key's.
using Permission = std::vector<PermissionLayer>;

/// What all layers together leave. Where two contradict each other, such as two agents of which
/// neither is below the other, `contradiction` says so, and nothing is left.
struct Effective {
  std::optional<std::string> tenant;
  std::string agent;  ///< the deepest; empty: the whole tenant
  std::optional<std::set<std::string>> sandboxes;
  std::vector<std::set<std::string>> templates;  ///< each must hold a name or the id of it
  ActionSet actions = ActionSet::all();
  Label label = Label::secret;
  std::vector<EgressLayer> egress;  ///< all must agree; named after their layers
  std::optional<int64_t> memory_mib, vcpus, ttl_s, egress_bytes, expires_ms;
  std::string contradiction;
};
Effective effective(const Permission& permission);

struct BoxFacts {
  std::string tenant;
  std::string agent;
  std::string id;
  Label label = Label::public_data;
};
struct TemplateFacts {
  std::string tenant;
  std::string agent;
  std::string id;
  std::string name;
  Label label = Label::public_data;
  bool is_public = false;  ///< others may make boxes of it
};

/// Whether this is left at all. Rules: "<layer>.actions", "<layer>.expired",
/// "<layer>.contradiction", "<layer>.sandboxes" and "<layer>.agent" (of what else actions_left()
/// takes). Of an allowed one: "permission".
Decision may(const Permission& permission, Action action, int64_t now_ms);

/// Whether the box exists for whoever asks: tenant, agent, id, label, and sandbox.read or any other
/// action on boxes. Rules besides those above: "<layer>.tenant", "<layer>.agent",
/// "<layer>.sandboxes", "<layer>.label".
Decision may_see(const Permission& permission, const BoxFacts& box, int64_t now_ms);
/// may_see(), and may() do this.
Decision may_act(const Permission& permission, Action action, const BoxFacts& box, int64_t now_ms);

/// A template is read by its agent, by those below it (what an ancestor made), by those above it,
/// and, if it is public, by everybody; it is changed from its own agent's path or above, and only
/// in its own tenant. To read it is enough to have any action on templates or sandbox.create.
/// `templates` of a layer names those of its own tenant and the operator's by name or id, and those
/// of other tenants as "acme/base" or by id. Rules besides those above: "<layer>.templates".
Decision may_read(const Permission& permission, const TemplateFacts& what, int64_t now_ms);
Decision may_change(const Permission& permission, const TemplateFacts& what, int64_t now_ms);

/// What is asked of a new box, besides what goes out of it. A size that is nothing is not known, and
/// is refused by a layer that limits it: whoever asks fills in the template's own values.
struct CreateFacts {
  TemplateFacts what;
  Label label = Label::public_data;
  std::optional<int64_t> memory_mib, vcpus;
  std::optional<int64_t> ttl_s;
};
/// Rules besides those above: "<layer>.memory", "<layer>.vcpus", "<layer>.ttl". `boxes` is counted
/// by whoever can count.
Decision may_create(const Permission& permission, const CreateFacts& asked, int64_t now_ms);

/// What may stand in `models`: letters, digits, "-_./:", and a '*' for any rest at the end.
bool is_model_pattern(std::string_view word);
bool names_model(const std::set<std::string>& patterns, std::string_view model);
/// Rule "<layer>.models"; of an allowed one "permission".
Decision may_call_model(const Permission& permission, std::string_view model);

/// Whether `inner` leaves nothing that `outer` does not: of keys that a key makes. What holds for
/// both anyway, such as the layers of platform and tenant, need not be in `outer`. A maker whose
/// boxes are counted makes only keys that cannot make boxes, as theirs would be counted anew.
/// Rules: "within.<member>"; of an allowed one "within".
Decision is_within(const Permission& outer, const Narrowing& inner);

}  // namespace hako::policy
