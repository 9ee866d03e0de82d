// What requests say of keys, and who may manage which. Pure.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <string_view>

#include "api/principal.h"
#include "base/result.h"

namespace hako::api {

/// What a request sets of a key. What is nothing stays as it is, or has its default for a new one.
struct KeyRequest {
  std::optional<policy::Role> role;  ///< never platform; of a new one: member
  std::optional<std::string> user;   ///< whose it is
  std::optional<std::string> name;   ///< what it is for
  /// What it leaves of its role, whole: without a label it is cleared for what is public, and
  /// without an end it has none.
  std::optional<policy::Narrowing> policy;
};

/// {role?, user?, name?, policy?}, where `policy` is as narrowing_from() has it. invalid_argument
/// names the member, unknown ones included.
Result<KeyRequest> parse_key_request(std::string_view body);
/// {grace?}: for how many seconds the old secret counts as well; a week at most.
Result<int64_t> parse_rotation(std::string_view body);

/// Writes what is asked for into the record.
void apply(const KeyRequest& request, store::ApiKey& key);

/// {keyID, tenant, role, user, name, policy, createdAt, oldSecretUntil?}: never the key itself, nor
/// its hash.
boost::json::object key_json(const store::ApiKey& key, int64_t now_ms);

/// Whether the key exists for `who`: keys of their own tenant, and of their agent and those below.
bool sees_key(const Principal& who, const store::ApiKey& key);
/// Whether they may make it, change it, or end it: nobody manages a key that leaves more than their
/// own. permission_denied with the rule; corrupted.
Result<void> may_manage(const Principal& who, const store::ApiKey& key);

}  // namespace hako::api
