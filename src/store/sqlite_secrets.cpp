#include "store/sqlite_secrets.h"

#include "store/sqlite_rows.h"

namespace hako::store {
namespace {

constexpr std::string_view kSecretColumns =
    "id, tenant, name, version, sealed, shape, hosts, use, env, label, grants, metadata, key_id,"
    " created_ms, updated_ms";

SecretRecord read_secret(const Statement& row) {
  return {.id = row.text(0),
          .tenant = row.text(1),
          .name = row.text(2),
          .version = row.integer(3),
          .sealed = row.text(4),
          .shape = row.text(5),
          .hosts = row.text(6),
          .use = row.text(7),
          .env = row.text(8),
          .label = row.text(9),
          .grants = row.text(10),
          .metadata = row.text(11),
          .key_id = row.text(12),
          .created_ms = row.integer(13),
          .updated_ms = row.integer(14)};
}

}  // namespace

Result<void> SqliteSecrets::add_secret(const SecretRecord& record) {
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO secrets (" + std::string(kSecretColumns) + ") SELECT " +
                             places(15) + " WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?)"));
  statement.bind(1, record.id)
      .bind(2, record.tenant)
      .bind(3, record.name)
      .bind(4, record.version)
      .bind(5, record.sealed)
      .bind(6, record.shape)
      .bind(7, record.hosts)
      .bind(8, record.use)
      .bind(9, record.env)
      .bind(10, record.label)
      .bind(11, record.grants)
      .bind(12, record.metadata)
      .bind(13, record.key_id)
      .bind(14, record.created_ms)
      .bind(15, record.updated_ms)
      .bind(16, record.tenant);
  HAKO_TRYV(statement.run());
  if (database_.changes() == 1) return ok();
  return Error(ErrorCode::not_found, "tenant " + record.tenant + " not found");
}

Result<void> SqliteSecrets::put_secret(const SecretRecord& record) {
  HAKO_TRY(auto statement,
           database_.prepare("UPDATE secrets SET version = ?, sealed = ?, shape = ?, hosts = ?,"
                             " use = ?, env = ?, label = ?, grants = ?, metadata = ?,"
                             " updated_ms = ? WHERE id = ?"));
  statement.bind(1, record.version)
      .bind(2, record.sealed)
      .bind(3, record.shape)
      .bind(4, record.hosts)
      .bind(5, record.use)
      .bind(6, record.env)
      .bind(7, record.label)
      .bind(8, record.grants)
      .bind(9, record.metadata)
      .bind(10, record.updated_ms)
      .bind(11, record.id);
  HAKO_TRYV(statement.run());
  return changed_one(database_, "secret", record.id);
}

Result<std::optional<SecretRecord>> SqliteSecrets::find_secret(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare(select(kSecretColumns, "secrets", "WHERE id = ?")));
  statement.bind(1, id);
  return read_row(statement, read_secret);
}

Result<std::vector<SecretRecord>> SqliteSecrets::secrets_of(const std::string& tenant) {
  HAKO_TRY(auto statement,
           database_.prepare(select(kSecretColumns, "secrets",
                                    "WHERE tenant = ? ORDER BY created_ms, id")));
  statement.bind(1, tenant);
  return read_rows(statement, read_secret);
}

Result<std::vector<SecretRecord>> SqliteSecrets::secrets_for(const std::string& tenant) {
  HAKO_TRY(auto statement,
           database_.prepare(select(
               kSecretColumns, "secrets",
               "WHERE tenant = ?1 OR EXISTS (SELECT 1 FROM json_each(nullif(grants, '')) AS one"
               " WHERE json_extract(one.value, '$.tenant') = ?1)"
               " ORDER BY tenant <> ?1, created_ms, id")));
  statement.bind(1, tenant);
  return read_rows(statement, read_secret);
}

Result<bool> SqliteSecrets::remove_secret(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM secrets WHERE id = ?"));
  HAKO_TRYV(statement.bind(1, id).run());
  return database_.changes() == 1;
}

}  // namespace hako::store
