// What a sandbox was asked to be beyond its size and life: its network and its end. Pure.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/egress_ceilings.h"
#include "api/egress_options.h"
#include "api/field_reader.h"
#include "policy/egress_plan.h"

namespace hako::api {

/// Kept with the record, as it was asked for and found to be well-formed.
struct SandboxOptions {
  /// Members as in E2B's network object, only those that were given: allowOut, denyOut,
  /// allowPublicTraffic, maskRequestHost, httpsPorts and rules.
  boost::json::object network;
  std::optional<bool> allow_internet_access;
  EgressOptions egress;  ///< and what was asked for in our own words
  bool auto_pause = false;
  bool auto_pause_memory = true;
  bool auto_resume = false;
  int64_t timeout_s = 0;  ///< the span of life asked for at first
  int64_t ends_by_ms = INT64_MAX;  ///< the latest end that whoever made it could give it
  /// Ids of the secrets that it uses.
  std::vector<std::string> secrets;
  /// Whoever wrote the rules may keep secrets, so that theirs may name some that are bound to no host.
  bool rules_by_keeper = false;
  /// What key and token left to whoever made it, and to whoever changed its rules last.
  EgressCeilings made_under, changed_under;
  boost::json::object models;  ///< what it may call of them, as model_terms.h has it

  /// Whether ports of the box are open to whoever knows its name.
  bool is_public() const;
  /// What stands in Host towards services of the box, with "${PORT}"; empty to leave it.
  std::string mask_host() const;

  bool operator==(const SandboxOptions&) const = default;
};

/// Takes network, allow_internet_access, egress, allow, deny, models, autoPause, autoPauseMemory and
/// autoResume out of the body of a create; what the body itself says counts before what its
/// `metadata` says. Problems are left in `reader`: unsupported for a proxy, and for rules for a
/// pattern of names, as what was to go through them must not go without.
SandboxOptions read_options(FieldReader& reader, const TextPairs& metadata);

struct NetworkChange {
  SandboxOptions options;     ///< with the change
  bool in_our_words = false;  ///< it names some of egress, allow and deny
};

/// Takes a change of the rules for what goes out, {allowOut, denyOut, egressProxy, rules,
/// allow_internet_access, egress, allow, deny}: what of E2B's fields it does not name is cleared.
/// Ours stay then, so that a client which does not know them cannot loosen them; and so does what
/// does not concern going out. invalid_argument names the field; unsupported as above.
Result<NetworkChange> update_network(SandboxOptions options, std::string_view body);

/// What all of it asks for. invalid_argument for a target that cannot be read; unsupported for what
/// was to go through a proxy, which must not go without.
Result<policy::EgressRequest> egress_request(const SandboxOptions& options);

/// As text for the store, and back. Text that is not ours gives the defaults.
std::string write_options(const SandboxOptions& options);
SandboxOptions parse_options(std::string_view text);

/// The network object as its owner is shown it.
boost::json::object shown_network(const SandboxOptions& options);

}  // namespace hako::api
