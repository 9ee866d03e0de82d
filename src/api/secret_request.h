// What requests say of secrets, how they are shown, and who may use which. Pure.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/field_reader.h"
#include "api/principal.h"
#include "base/result.h"
#include "policy/egress.h"
#include "store/store.h"

namespace hako::api {

/// Where in a request a secret belongs. In its target or its body: never.
struct SecretUse {
  enum class Kind { header, bearer, basic };
  Kind kind = Kind::bearer;
  std::string header;           ///< of kind header
  std::string form = "{}";      ///< of kind header: the whole value, with "{}" for the secret
  std::string user;             ///< of kind basic; empty: whichever is sent
  bool operator==(const SecretUse&) const = default;
};

std::string_view to_string(SecretUse::Kind kind);

/// Who may use a secret: every box of a tenant, those of an agent and of the ones below it (in the
/// secret's own tenant), or one box. Exactly one is set.
struct SecretGrant {
  std::string tenant, agent, box;
  bool operator==(const SecretGrant&) const = default;
};

/// What a request sets of a secret. What is nothing stays as it is, or has its default for a new one.
struct SecretRequest {
  std::optional<std::string> name;
  std::optional<std::string> value;
  std::optional<std::vector<policy::InterceptedHost>> hosts;
  std::optional<std::vector<SecretUse>> uses;
  std::optional<std::string> env;
  std::optional<policy::Label> label;
  std::optional<std::vector<SecretGrant>> grants;
  std::optional<boost::json::object> metadata;
};

inline constexpr size_t kMostSecrets = 1000;  ///< of one tenant
inline constexpr size_t kMostSecretsOfBox = 32;
inline constexpr size_t kLongestSecretName = 64;
inline constexpr std::string_view kSecretIdPrefix = "sec_";

/// {name, value, hosts?, use?, env?, label?, grants?, metadata?}. `hosts`: "name", "name:443,8443".
/// `use`: one or a list of {kind: "header", header, template?} | {kind: "bearer"} |
/// {kind: "basic", user?}. `grants`: list of {tenant} | {agent} | {box}.
/// invalid_argument names the member, unknown ones included, and never holds the value.
Result<SecretRequest> parse_new_secret(std::string_view body);
/// The same without name and value.
Result<SecretRequest> parse_secret_change(std::string_view body);
/// {value}.
Result<SecretRequest> parse_secret_rotation(std::string_view body);
/// E2B's: {name, value, metadata?} and {value, metadata?}; members that it does not know are skipped.
Result<SecretRequest> parse_e2b_secret(std::string_view body);
Result<SecretRequest> parse_e2b_secret_update(std::string_view body);

/// A name as it is kept: in lower case. Nothing for what cannot be one: [a-z0-9] with '-', '_' and '.'
/// inside, not beginning as ids do.
std::optional<std::string> secret_name(std::string_view text);

/// Whether a value can stand in a header, and be told from others in an answer.
bool is_secret_value(std::string_view value);
/// Whether a header may be set for a box: not one that frames a message or names its receiver.
bool may_set_header(std::string_view name);

/// Writes what is asked for into the record, the value aside.
void apply(const SecretRequest& request, store::SecretRecord& record);

/// As the store has them. What cannot be read is none, and then nobody may use it anywhere.
std::vector<policy::InterceptedHost> hosts_of(const store::SecretRecord& record);
std::vector<SecretUse> uses_of(const store::SecretRecord& record);
std::vector<SecretGrant> grants_of(const store::SecretRecord& record);

/// In what way a value is used if nobody says: by the prefix of its kind, else as a bearer token.
std::vector<SecretUse> usual_uses(std::string_view value);

/// {secretID, name, tenant, hosts, use, env, label, grants, metadata, version, createdAt, updatedAt}:
/// never the value, nor anything made of it.
boost::json::object secret_json(const store::SecretRecord& record);
/// {secretID, name, currentVersion, metadata, createdAt, updatedAt}.
boost::json::object e2b_secret_json(const store::SecretRecord& record);

/// Whether it exists for `who`: in their tenant or granted to it, cleared for, and of their agent
/// where they have one.
bool sees_secret(const Principal& who, const store::SecretRecord& record);
/// Whether `who` may keep a secret with these grants and this label. permission_denied with the rule.
Result<void> may_keep_secret(const Principal& who, const std::vector<SecretGrant>& grants,
                             policy::Label label);

/// Whether a box may use it: a grant covers the box, and its label is no lower than the secret's.
/// Rules: "secret.grant", "secret.label".
policy::Decision may_use_secret(const store::SecretRecord& secret,
                                const store::SandboxRecord& box);

}  // namespace hako::api
