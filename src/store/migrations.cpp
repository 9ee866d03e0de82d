#include "store/migrations.h"

#include <array>

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
};

Result<int64_t> user_version(Database& database) {
  HAKO_TRY(auto statement, database.prepare("PRAGMA user_version"));
  HAKO_TRY(bool row, statement.step());
  return row ? statement.integer(0) : 0;
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
  for (; version < current_schema(); ++version) {
    std::string next = std::to_string(version + 1);
    HAKO_TRY(auto transaction, Transaction::begin(database));
    auto applied = database.execute(kSteps[size_t(version)]);
    if (!applied) return applied.error().with_context("migration to schema " + next);
    HAKO_TRYV(database.execute("PRAGMA user_version=" + next));
    HAKO_TRYV(transaction.commit());
  }
  return ok();
}

}  // namespace hako::store
