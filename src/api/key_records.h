// The keys of tenants: made, shown, changed, rotated and ended.
#pragma once

#include <string>
#include <vector>

#include "api/key_request.h"
#include "api/standing.h"
#include "api/tenants.h"
#include "base/async/task.h"
#include "store/async_store.h"

namespace hako::api {

inline constexpr size_t kMostKeys = 1000;  ///< of one tenant

/// A key with the secret itself, which is shown this once and is nowhere kept.
struct IssuedKey {
  store::ApiKey record;
  std::string key;
};

/// Errors of all calls are fit for the user: not_found for a key that does not exist for `who`;
/// permission_denied, with the rule, for one that leaves more than theirs; unauthenticated if their
/// own has been ended meanwhile; failed_precondition for the operator's, which is that of the key
/// file. Thread: one executor. Calls may overlap.
class KeyRecords {
 public:
  KeyRecords(store::AsyncStore& store, KeysChanged changed)
      : store_(store), changed_(std::move(changed)) {}

  /// In the order in which they were made.
  Task<Result<std::vector<store::ApiKey>>> list(Principal who);
  Task<Result<store::ApiKey>> find(std::string id, Principal who);
  /// resource_exhausted.
  Task<Result<IssuedKey>> create(KeyRequest request, Principal who);
  /// failed_precondition for a tenant's last owner, whom only the operator may make less.
  Task<Result<store::ApiKey>> change(std::string id, KeyRequest request, Principal who);
  /// A new secret. The old one counts for so many seconds more, or no longer.
  Task<Result<IssuedKey>> rotate(std::string id, int64_t grace_s, Principal who);
  /// As change(): a tenant's last owner stays.
  Task<Result<void>> remove(std::string id, Principal who);

 private:
  store::AsyncStore& store_;
  KeysChanged changed_;
};

/// Whether the key, and the token, with which `who` was admitted are still as they were: a request
/// may take its time to arrive. The secret by which they were. unauthenticated; or those of the store.
Result<Secret> still_valid(store::TenantStore& tenants, const Principal& who);
/// The same of whoever is to manage keys, which a secret that was replaced does not, however long it
/// still counts. permission_denied.
Result<void> may_still_manage(store::TenantStore& tenants, const Principal& who);
/// The key, if it exists for `who`. not_found.
Result<store::ApiKey> find_own_key(store::TenantStore& tenants, const std::string& id,
                                   const Principal& who);

/// What a user is told about such a failure: refusals pass, besides what error_for_user() passes.
Error key_error(const Error& error, std::string_view what);

}  // namespace hako::api
