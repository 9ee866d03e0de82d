#include "store/migrations.h"

#include <array>
#include <utility>

namespace hako::store {
namespace {

/// Step n leads from user_version n to n + 1. Steps are never changed once released, only added.
constexpr std::array kSteps = {
    R"(CREATE TABLE api_keys (
         id TEXT PRIMARY KEY NOT NULL,
         hash TEXT NOT NULL UNIQUE,
         label TEXT NOT NULL,
         created_ms INTEGER NOT NULL
       ) STRICT;)",
    // key_id is no foreign key: a sandbox outlives the key that made it.
    R"(CREATE TABLE sandboxes (
         id TEXT PRIMARY KEY NOT NULL,
         template TEXT NOT NULL,
         alias TEXT NOT NULL,
         state TEXT NOT NULL CHECK (state IN ('starting', 'running')),
         started_ms INTEGER NOT NULL,
         ends_ms INTEGER NOT NULL,
         metadata TEXT NOT NULL,
         access_token TEXT NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         isolation TEXT NOT NULL,
         key_id TEXT NOT NULL
       ) STRICT;
       CREATE INDEX sandboxes_by_start ON sandboxes (started_ms, id);)",
    R"(CREATE TABLE templates (
         id TEXT PRIMARY KEY NOT NULL,
         name TEXT NOT NULL UNIQUE,
         public INTEGER NOT NULL,
         created_ms INTEGER NOT NULL,
         updated_ms INTEGER NOT NULL,
         key_id TEXT NOT NULL
       ) STRICT;
       CREATE TABLE template_builds (
         id TEXT PRIMARY KEY NOT NULL,
         template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
         state TEXT NOT NULL CHECK (state IN ('waiting', 'building', 'ready', 'error')),
         image INTEGER NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         created_ms INTEGER NOT NULL,
         finished_ms INTEGER NOT NULL,
         tags TEXT NOT NULL,
         reason TEXT NOT NULL,
         step TEXT NOT NULL,
         log TEXT NOT NULL
       ) STRICT;
       CREATE INDEX template_builds_by_template ON template_builds (template_id, created_ms);
       CREATE TABLE template_tags (
         template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
         tag TEXT NOT NULL,
         build_id TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         PRIMARY KEY (template_id, tag)
       ) STRICT;)",
    R"(ALTER TABLE sandboxes ADD COLUMN options TEXT NOT NULL DEFAULT '';
       ALTER TABLE sandboxes ADD COLUMN traffic_token TEXT NOT NULL DEFAULT '';)",
    // Keys of before may read what is public, until somebody says more of them: the operator's is
    // written anew at every start.
    R"(ALTER TABLE api_keys ADD COLUMN clearance TEXT NOT NULL DEFAULT 'public';
       ALTER TABLE sandboxes ADD COLUMN label TEXT NOT NULL DEFAULT 'public';
       ALTER TABLE sandboxes ADD COLUMN egress TEXT NOT NULL DEFAULT '';
       ALTER TABLE templates ADD COLUMN label TEXT NOT NULL DEFAULT 'public';
       CREATE TABLE links (
         id TEXT PRIMARY KEY NOT NULL,
         from_box TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
         to_box TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
         port INTEGER NOT NULL,
         name TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         UNIQUE (from_box, name)
       ) STRICT;
       CREATE INDEX links_by_target ON links (to_box);)",
    // Everything of before belongs to the tenant that is always there. A table is made anew where
    // a column refers to another table or a name is unique in another way; foreign keys are off
    // meanwhile, so that dropping the old one takes nothing along.
    R"(CREATE TABLE tenants (
         name TEXT PRIMARY KEY NOT NULL,
         policy TEXT NOT NULL,
         quota TEXT NOT NULL,
         suspended INTEGER NOT NULL,
         created_ms INTEGER NOT NULL
       ) STRICT;
       INSERT INTO tenants VALUES ('default', '', '', 0, unixepoch() * 1000);

       CREATE TABLE new_api_keys (
         id TEXT PRIMARY KEY NOT NULL,
         hash TEXT NOT NULL UNIQUE,
         old_hash TEXT NOT NULL,
         old_until_ms INTEGER NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
         role TEXT NOT NULL,
         user TEXT NOT NULL,
         label TEXT NOT NULL,
         narrowing TEXT NOT NULL,
         clearance TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         expires_ms INTEGER NOT NULL
       ) STRICT;
       INSERT INTO new_api_keys (id, hash, old_hash, old_until_ms, tenant, role, user, label,
                                 narrowing, clearance, created_ms, expires_ms)
         SELECT id, hash, '', 0, 'default', iif(id = 'operator', 'platform', 'member'), '', label,
                '', clearance, created_ms, 0 FROM api_keys;
       DROP TABLE api_keys;
       ALTER TABLE new_api_keys RENAME TO api_keys;
       CREATE UNIQUE INDEX api_keys_by_old_hash ON api_keys (old_hash) WHERE old_hash <> '';
       CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_ms);

       CREATE TABLE new_sandboxes (
         id TEXT PRIMARY KEY NOT NULL,
         template TEXT NOT NULL,
         alias TEXT NOT NULL,
         state TEXT NOT NULL CHECK (state IN ('starting', 'running')),
         started_ms INTEGER NOT NULL,
         ends_ms INTEGER NOT NULL,
         metadata TEXT NOT NULL,
         access_token TEXT NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         isolation TEXT NOT NULL,
         key_id TEXT NOT NULL,
         options TEXT NOT NULL,
         traffic_token TEXT NOT NULL,
         label TEXT NOT NULL,
         egress TEXT NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name),
         agent TEXT NOT NULL,
         budgets TEXT NOT NULL,
         grants TEXT NOT NULL
       ) STRICT;
       INSERT INTO new_sandboxes (id, template, alias, state, started_ms, ends_ms, metadata,
                                  access_token, vcpus, memory_mib, disk_mib, isolation, key_id,
                                  options, traffic_token, label, egress, tenant, agent, budgets,
                                  grants)
         SELECT id, template, alias, state, started_ms, ends_ms, metadata, access_token, vcpus,
                memory_mib, disk_mib, isolation, key_id, options, traffic_token, label, egress,
                'default', '', '', '' FROM sandboxes;
       DROP TABLE sandboxes;
       ALTER TABLE new_sandboxes RENAME TO sandboxes;
       CREATE INDEX sandboxes_by_start ON sandboxes (started_ms, id);
       CREATE INDEX sandboxes_by_tenant ON sandboxes (tenant, started_ms, id);

       CREATE TABLE new_templates (
         id TEXT PRIMARY KEY NOT NULL,
         name TEXT NOT NULL,
         public INTEGER NOT NULL,
         created_ms INTEGER NOT NULL,
         updated_ms INTEGER NOT NULL,
         key_id TEXT NOT NULL,
         label TEXT NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name),
         agent TEXT NOT NULL,
         UNIQUE (tenant, name)
       ) STRICT;
       INSERT INTO new_templates (id, name, public, created_ms, updated_ms, key_id, label, tenant,
                                  agent)
         SELECT id, name, public, created_ms, updated_ms, key_id, label, 'default', ''
         FROM templates;
       DROP TABLE templates;
       ALTER TABLE new_templates RENAME TO templates;

       CREATE TABLE revoked_tokens (
         identifier TEXT PRIMARY KEY NOT NULL,
         key_id TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
         until_ms INTEGER NOT NULL
       ) STRICT;
       CREATE INDEX revoked_tokens_by_key ON revoked_tokens (key_id);
       CREATE TABLE traffic (
         tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
         period TEXT NOT NULL,
         bytes INTEGER NOT NULL,
         PRIMARY KEY (tenant, period)
       ) STRICT;)",
    // The table of sandboxes is made anew for its states.
    R"(CREATE TABLE new_sandboxes (
         id TEXT PRIMARY KEY NOT NULL,
         template TEXT NOT NULL,
         alias TEXT NOT NULL,
         state TEXT NOT NULL
           CHECK (state IN ('starting', 'running', 'pausing', 'paused', 'resuming')),
         started_ms INTEGER NOT NULL,
         ends_ms INTEGER NOT NULL,
         metadata TEXT NOT NULL,
         access_token TEXT NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         isolation TEXT NOT NULL,
         key_id TEXT NOT NULL,
         options TEXT NOT NULL,
         traffic_token TEXT NOT NULL,
         label TEXT NOT NULL,
         egress TEXT NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name),
         agent TEXT NOT NULL,
         budgets TEXT NOT NULL,
         grants TEXT NOT NULL,
         pauses INTEGER NOT NULL,
         with_memory INTEGER NOT NULL
       ) STRICT;
       INSERT INTO new_sandboxes (id, template, alias, state, started_ms, ends_ms, metadata,
                                  access_token, vcpus, memory_mib, disk_mib, isolation, key_id,
                                  options, traffic_token, label, egress, tenant, agent, budgets,
                                  grants, pauses, with_memory)
         SELECT id, template, alias, state, started_ms, ends_ms, metadata, access_token, vcpus,
                memory_mib, disk_mib, isolation, key_id, options, traffic_token, label, egress,
                tenant, agent, budgets, grants, 0, 1 FROM sandboxes;
       DROP TABLE sandboxes;
       ALTER TABLE new_sandboxes RENAME TO sandboxes;
       CREATE INDEX sandboxes_by_start ON sandboxes (started_ms, id);
       CREATE INDEX sandboxes_by_tenant ON sandboxes (tenant, started_ms, id);

       CREATE TABLE snapshots (
         id TEXT PRIMARY KEY NOT NULL,
         state TEXT NOT NULL CHECK (state IN ('making', 'ready')),
         name TEXT NOT NULL,
         sandbox TEXT NOT NULL,
         template TEXT NOT NULL,
         alias TEXT NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name),
         agent TEXT NOT NULL,
         key_id TEXT NOT NULL,
         label TEXT NOT NULL,
         options TEXT NOT NULL,
         vcpus INTEGER NOT NULL,
         memory_mib INTEGER NOT NULL,
         disk_mib INTEGER NOT NULL,
         bytes INTEGER NOT NULL,
         created_ms INTEGER NOT NULL
       ) STRICT;
       CREATE UNIQUE INDEX snapshots_by_name ON snapshots (tenant, name) WHERE name <> '';
       CREATE INDEX snapshots_by_tenant ON snapshots (tenant, created_ms, id);)",
    R"(CREATE TABLE secrets (
         id TEXT PRIMARY KEY NOT NULL,
         tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
         name TEXT NOT NULL,
         version INTEGER NOT NULL,
         sealed TEXT NOT NULL,
         shape TEXT NOT NULL,
         hosts TEXT NOT NULL,
         use TEXT NOT NULL,
         env TEXT NOT NULL,
         label TEXT NOT NULL,
         grants TEXT NOT NULL,
         metadata TEXT NOT NULL,
         key_id TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         updated_ms INTEGER NOT NULL,
         UNIQUE (tenant, name)
       ) STRICT;
       CREATE INDEX secrets_by_tenant ON secrets (tenant, created_ms, id);)",
    // No row refers to a tenant, a key or a box: what was spent stays spent when these go.
    R"(CREATE TABLE model_budgets (
         budget TEXT NOT NULL,
         period TEXT NOT NULL,
         told_requests INTEGER NOT NULL,
         told_tokens INTEGER NOT NULL,
         told_microusd INTEGER NOT NULL,
         unconfirmed_requests INTEGER NOT NULL,
         unconfirmed_tokens INTEGER NOT NULL,
         unconfirmed_microusd INTEGER NOT NULL,
         open_requests INTEGER NOT NULL CHECK (open_requests >= 0),
         open_tokens INTEGER NOT NULL CHECK (open_tokens >= 0),
         open_microusd INTEGER NOT NULL CHECK (open_microusd >= 0),
         PRIMARY KEY (budget, period)
       ) STRICT;
       CREATE TABLE model_reservations (
         id TEXT PRIMARY KEY NOT NULL,
         box TEXT NOT NULL,
         tenant TEXT NOT NULL,
         agent TEXT NOT NULL,
         key_id TEXT NOT NULL,
         host TEXT NOT NULL,
         model TEXT NOT NULL,
         budgets TEXT NOT NULL,
         input_tokens INTEGER NOT NULL,
         output_tokens INTEGER NOT NULL,
         microusd INTEGER NOT NULL,
         prices TEXT NOT NULL,
         created_ms INTEGER NOT NULL,
         settled_ms INTEGER NOT NULL,
         outcome TEXT NOT NULL
       ) STRICT;
       CREATE INDEX model_reservations_by_time ON model_reservations (settled_ms, created_ms);
       CREATE TABLE model_usage (
         tenant TEXT NOT NULL,
         agent TEXT NOT NULL,
         key_id TEXT NOT NULL,
         box TEXT NOT NULL,
         model TEXT NOT NULL,
         day TEXT NOT NULL,
         requests INTEGER NOT NULL,
         input INTEGER NOT NULL,
         cached INTEGER NOT NULL,
         cache_write INTEGER NOT NULL,
         cache_write_1h INTEGER NOT NULL,
         output INTEGER NOT NULL,
         microusd INTEGER NOT NULL,
         unconfirmed_tokens INTEGER NOT NULL,
         unconfirmed_microusd INTEGER NOT NULL,
         PRIMARY KEY (tenant, box, model, day)
       ) STRICT;
       CREATE INDEX model_usage_by_day ON model_usage (day);
       CREATE TABLE model_stops (
         tenant TEXT PRIMARY KEY NOT NULL,
         reason TEXT NOT NULL,
         stopped_by TEXT NOT NULL,
         since_ms INTEGER NOT NULL
       ) STRICT;)",
};

Result<int64_t> user_version(Database& database) {
  HAKO_TRY(auto statement, database.prepare("PRAGMA user_version"));
  HAKO_TRY(bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

/// Off while it lives. SQLite takes no notice of this inside a transaction.
class WithoutForeignKeys {
 public:
  static Result<WithoutForeignKeys> begin(Database& database) {
    HAKO_TRYV(database.execute("PRAGMA foreign_keys=OFF"));
    return WithoutForeignKeys(&database);
  }
  WithoutForeignKeys(WithoutForeignKeys&& other) noexcept
      : database_(std::exchange(other.database_, nullptr)) {}
  WithoutForeignKeys& operator=(WithoutForeignKeys&&) = delete;
  ~WithoutForeignKeys() {
    if (database_) (void)database_->execute("PRAGMA foreign_keys=ON");
  }

 private:
  explicit WithoutForeignKeys(Database* database) : database_(database) {}
  Database* database_;
};

Result<void> check_foreign_keys(Database& database) {
  HAKO_TRY(auto check, database.prepare("PRAGMA foreign_key_check"));
  HAKO_TRY(bool broken, check.step());
  if (!broken) return ok();
  return Error(ErrorCode::corrupted,
               "a row of " + check.text(0) + " refers to none in " + check.text(2));
}

Result<void> apply(Database& database, size_t step) {
  HAKO_TRY(auto transaction, Transaction::begin(database));
  HAKO_TRYV(database.execute(kSteps[step]));
  HAKO_TRYV(check_foreign_keys(database));
  HAKO_TRYV(database.execute("PRAGMA user_version=" + std::to_string(step + 1)));
  return transaction.commit();
}

}  // namespace

int current_schema() {
  return int(kSteps.size());
}

Result<void> migrate(Database& database) {
  HAKO_TRY(int64_t version, user_version(database));
  if (version < 0 || version > current_schema()) {
    return Error(ErrorCode::failed_precondition,
                 "the database has schema " + std::to_string(version) +
                     ", but this version of hako knows only up to " +
                     std::to_string(current_schema()) + "; start the newer hako again");
  }
  if (version == current_schema()) return ok();
  HAKO_TRY(auto foreign_keys_off, WithoutForeignKeys::begin(database));
  for (; version < current_schema(); ++version) {
    auto applied = apply(database, size_t(version));
    if (!applied) {
      return applied.error().with_context("migration to schema " + std::to_string(version + 1));
    }
  }
  return ok();
}

}  // namespace hako::store
