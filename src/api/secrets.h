// The secrets of tenants: kept, shown without their values, changed, rotated and ended.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/secret_request.h"
#include "base/async/task.h"
#include "store/async_store.h"
#include "vault/master_key.h"

namespace hako::api {

/// Errors of all calls are fit for the user, and never hold a value: unsupported without a master key;
/// not_found for a secret that does not exist for `who`; permission_denied, with the rule, for grants
/// and labels that are not theirs to give; unauthenticated if their own key has been ended meanwhile.
/// Thread: one executor. Calls may overlap.
class Secrets {
 public:
  /// A secret is other than it was, or has gone. `only_value`: what may be reached with it has not
  /// changed.
  struct Change {
    store::SecretRecord before;
    bool only_value = false;
  };
  using Changed = std::function<Task<void>(Change change)>;

  Secrets(store::AsyncStore& store, const std::optional<vault::MasterKey>& master, Changed changed)
      : store_(store), master_(master), changed_(std::move(changed)) {}

  /// In the order in which they were made; those that were granted by other tenants behind them.
  Task<Result<std::vector<store::SecretRecord>>> list(Principal who);
  /// By id or name.
  Task<Result<store::SecretRecord>> find(std::string reference, Principal who);
  /// already_exists, resource_exhausted.
  Task<Result<store::SecretRecord>> create(SecretRequest request, Principal who);
  /// What boxes have of it is in force, or no longer, when this returns.
  Task<Result<store::SecretRecord>> change(std::string reference, SecretRequest request,
                                           Principal who);
  Task<Result<void>> remove(std::string reference, Principal who);

 private:
  Result<void> kept() const;

  store::AsyncStore& store_;
  const std::optional<vault::MasterKey>& master_;
  Changed changed_;
};

}  // namespace hako::api
