// Inside src/store only: the table of secrets.
#pragma once

#include "store/secrets.h"
#include "store/sqlite.h"

namespace hako::store {

class SqliteSecrets : public SecretStore {
 public:
  /// `database` must outlive this.
  explicit SqliteSecrets(Database& database) : database_(database) {}

  Result<void> add_secret(const SecretRecord& record) override;
  Result<void> put_secret(const SecretRecord& record) override;
  Result<std::optional<SecretRecord>> find_secret(const std::string& id) override;
  Result<std::vector<SecretRecord>> secrets_of(const std::string& tenant) override;
  Result<std::vector<SecretRecord>> secrets_for(const std::string& tenant) override;
  Result<bool> remove_secret(const std::string& id) override;

 private:
  Database& database_;
};

}  // namespace hako::store
