// What the API remembers of secrets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hako::store {

/// Times are Unix milliseconds. The value itself is not here but sealed, with a key that the
/// database does not hold.
struct SecretRecord {
  std::string id;
  std::string tenant;
  std::string name;     ///< one secret of that name in a tenant
  int64_t version = 1;  ///< how many values it has had
  std::string sealed;
  std::string shape;     ///< what a placeholder for it looks like
  std::string hosts;     ///< JSON list of the hosts that it is bound to; empty: to none
  std::string use;       ///< JSON: where in a request it belongs
  std::string env;       ///< the variable in which boxes find its placeholder; empty: none
  std::string label = "public";
  std::string grants;    ///< JSON list: who may use it
  std::string metadata;  ///< a JSON object of texts; empty if none was given
  std::string key_id;    ///< which key made it
  int64_t created_ms = 0;
  int64_t updated_ms = 0;

  bool operator==(const SecretRecord&) const = default;
};

/// The rules of Store (store.h) hold. Lists are in the order in which the secrets were made. They go
/// with their tenant.
class SecretStore {
 public:
  virtual ~SecretStore() = default;

  /// already_exists if the tenant has one of that name; not_found for an unknown tenant.
  virtual Result<void> add_secret(const SecretRecord& record) = 0;
  /// All but its id, tenant, name, maker and birth. not_found.
  virtual Result<void> put_secret(const SecretRecord& record) = 0;
  virtual Result<std::optional<SecretRecord>> find_secret(const std::string& id) = 0;
  virtual Result<std::vector<SecretRecord>> secrets_of(const std::string& tenant) = 0;
  /// Those of the tenant, and behind them those of others that name it among their grants.
  virtual Result<std::vector<SecretRecord>> secrets_for(const std::string& tenant) = 0;
  /// Whether there was one.
  virtual Result<bool> remove_secret(const std::string& id) = 0;
};

}  // namespace hako::store
