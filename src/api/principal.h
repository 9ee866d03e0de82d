// Who makes a request, and what they may do. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "policy/permission.h"
#include "policy/quota.h"
#include "store/store.h"

namespace hako::api {

/// Who makes a request, and everything that they may do.
struct Principal {
  std::string key_id;
  std::string token_id;  ///< the token's identifier; empty for the key itself
  std::string key_state;  ///< state_of() its key: what it was given goes when that changes
  size_t narrowed = 0;   ///< how many caveats the token has
  std::string user;      ///< whose key it is, for people to read
  std::string tenant;    ///< where they act
  std::string agent;     ///< as which agent; empty: the whole tenant
  bool is_operator = false;  ///< the platform's own, with nothing taken away
  bool roams = false;  ///< of the platform's key, and by no caveat for one tenant
  /// Platform, tenant, key and the token's caveats. The request's own narrowing is not in it.
  policy::Permission permission;
  policy::Label clearance = policy::Label::public_data;  ///< what the permission leaves of it
  policy::Quota quota;               ///< of the tenant
  std::vector<std::string> budgets;  ///< what boxes that it makes count against: its key's first
};

/// What is known of the credential of a request.
struct Credential {
  store::ApiKey key;
  /// What was shown is, or comes from, the secret from before the key was rotated.
  bool old_secret = false;
  store::TenantRecord tenant;         ///< where they act: the key's, or for the operator any
  std::string token_id;               ///< empty for the key itself
  std::vector<std::string> caveats;   ///< of the token
  std::vector<std::string> signatures;  ///< behind each caveat
};

/// Puts the layers together, and what they come to. unauthenticated for a caveat that nobody
/// understands; corrupted for a tenant or key whose record cannot be read: it may be a restriction.
Result<Principal> make_principal(const Credential& credential, const config::Config& config);

/// What a tenant's policy leaves. corrupted for one that cannot be read: it may be a restriction.
Result<policy::Narrowing> policy_of(const store::TenantRecord& tenant);

/// What a key leaves of its role: what it narrows, with its clearance and its end. corrupted.
Result<policy::Narrowing> policy_of(const store::ApiKey& key);
/// The same with its role and its tenant: everything that it leaves. corrupted.
Result<policy::Narrowing> narrowing_of(const store::ApiKey& key);

/// Changes whenever what a key may do inside of boxes of a tenant does: with its secret, its role,
/// its clearance, its end, and with what it and the tenant narrow. 16 hex digits. `hash`: that of the
/// secret by which it is known, the key's present one or the one before.
std::string state_of(const store::ApiKey& key, std::string_view hash,
                     const store::TenantRecord& tenant);

/// Who shows no credential where none is asked for: may do nothing.
Principal nobody();
/// The API on its own behalf: everything.
Principal itself();

/// What boxes that a key makes always count against, and those of a tenant.
std::string budget_of_key(std::string_view key_id);
std::string budget_of_tenant(std::string_view tenant);

/// A label as the store has it. One that nobody knows is the highest: it closes what it is on.
inline policy::Label label_of(std::string_view stored) {
  return policy::label_from(stored).value_or(policy::Label::secret);
}

/// A clearance as the store has it. One that nobody knows is the lowest.
inline policy::Label clearance_of(std::string_view stored) {
  return policy::label_from(stored).value_or(policy::Label::public_data);
}

}  // namespace hako::api
