// What a sandbox was asked to be beyond its size and life: its network and its end. Pure.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <string_view>

#include "api/field_reader.h"

namespace hako::api {

/// Kept with the record, as it was asked for and found to be well-formed.
struct SandboxOptions {
  /// Members as in E2B's network object, only those that were given: allowOut, denyOut,
  /// allowPublicTraffic, maskRequestHost, egressProxy (with its password), rules, httpsPorts.
  boost::json::object network;
  std::optional<bool> allow_internet_access;
  bool auto_pause = false;
  bool auto_pause_memory = true;
  bool auto_resume = false;
  int64_t timeout_s = 0;  ///< the span of life asked for at first

  /// Whether ports of the box are open to whoever knows its name.
  bool is_public() const;
  /// What stands in Host towards services of the box, with "${PORT}"; empty to leave it.
  std::string mask_host() const;

  bool operator==(const SandboxOptions&) const = default;
};

/// Takes network, allow_internet_access, autoPause, autoPauseMemory and autoResume out of the body
/// of a create. Problems are left in `reader`.
SandboxOptions read_options(FieldReader& reader);

/// Takes a change of the rules for what goes out, {allowOut, denyOut, egressProxy, rules,
/// allow_internet_access}: what it does not name is cleared, what does not concern going out stays.
/// invalid_argument names the field.
Result<SandboxOptions> update_network(SandboxOptions options, std::string_view body);

/// As text for the store, and back. Text that is not ours gives the defaults.
std::string write_options(const SandboxOptions& options);
SandboxOptions parse_options(std::string_view text);

/// The network object as its owner is shown it: without the password of the proxy.
boost::json::object shown_network(const SandboxOptions& options);

}  // namespace hako::api
