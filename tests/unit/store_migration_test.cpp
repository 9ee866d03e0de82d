// Databases of older versions are brought up to date, whole or not at all.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "store/migrations.h"
#include "store/sqlite.h"
#include "store/store.h"
#include "support/in_child.h"
#include "support/store_fixture.h"

namespace hako::store {
namespace {

TEST(Migrations, AnOldDatabaseIsBroughtUpToDateWithItsContent) {
  Folder folder;
  std::string path = folder.file("hako.db");
  {
    auto database = Database::open(path);
    ASSERT_TRUE(database);
    ASSERT_TRUE(database.value().execute(
        "CREATE TABLE api_keys (id TEXT PRIMARY KEY NOT NULL, hash TEXT NOT NULL UNIQUE,"
        " label TEXT NOT NULL, created_ms INTEGER NOT NULL) STRICT;"
        "INSERT INTO api_keys VALUES ('operator', 'aa', 'old', 5);"
        "PRAGMA user_version=1;"));
  }
  auto opened = open_sqlite_store(path);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(opened.value()->tenants().find_key("aa", 0).value()->label, "old");
  EXPECT_TRUE(opened.value()->add_sandbox(record("i1", 1)));
}

/// The schema as the version without labels wrote it.
constexpr const char* kSchemaFour =
    "CREATE TABLE api_keys (id TEXT PRIMARY KEY NOT NULL, hash TEXT NOT NULL UNIQUE,"
    " label TEXT NOT NULL, created_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE sandboxes (id TEXT PRIMARY KEY NOT NULL, template TEXT NOT NULL,"
    " alias TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('starting', 'running')),"
    " started_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL, metadata TEXT NOT NULL,"
    " access_token TEXT NOT NULL, vcpus INTEGER NOT NULL, memory_mib INTEGER NOT NULL,"
    " disk_mib INTEGER NOT NULL, isolation TEXT NOT NULL, key_id TEXT NOT NULL,"
    " options TEXT NOT NULL DEFAULT '', traffic_token TEXT NOT NULL DEFAULT '') STRICT;"
    "CREATE INDEX sandboxes_by_start ON sandboxes (started_ms, id);"
    "CREATE TABLE templates (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE,"
    " public INTEGER NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,"
    " key_id TEXT NOT NULL) STRICT;"
    "PRAGMA user_version=4;";

TEST(Migrations, WhatHadNoLabelIsPublicAndClosed) {
  Folder folder;
  std::string path = folder.file("hako.db");
  {
    auto database = Database::open(path);
    ASSERT_TRUE(database);
    ASSERT_TRUE(database.value().execute(kSchemaFour));
    ASSERT_TRUE(database.value().execute(
        "INSERT INTO api_keys VALUES ('operator', 'aa', 'old', 5);"
        "INSERT INTO sandboxes VALUES ('i1', 'base', '', 'running', 1, 2, '', 'token', 1, 256,"
        " 4096, 'emulated', 'operator', '{}', '');"
        "INSERT INTO templates VALUES ('t1', 'app', 0, 1, 1, 'operator');"));
  }
  auto opened = open_sqlite_store(path);
  ASSERT_TRUE(opened) << opened.error().message();
  Store& store = *opened.value();
  EXPECT_EQ(store.tenants().find_key("aa", 0).value()->clearance, "public");
  auto found = store.find_sandbox("i1").value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->access_token, "token");
  EXPECT_EQ(found->label, "public");
  EXPECT_EQ(found->egress, "");
  EXPECT_EQ(store.templates().find_template("default", "app").value()->label, "public");
  EXPECT_TRUE(store.links().all_links().value().empty());
}

TEST(Migrations, AreDoneOnce) {
  auto database = Database::open(":memory:");
  ASSERT_TRUE(database);
  ASSERT_TRUE(migrate(database.value()));
  ASSERT_TRUE(migrate(database.value()));
  auto version = database.value().prepare("PRAGMA user_version");
  ASSERT_TRUE(version.value().step().value());
  EXPECT_EQ(version.value().integer(0), current_schema());
}

TEST(Migrations, AFailedStepLeavesTheOldSchema) {
  auto database = Database::open(":memory:");
  ASSERT_TRUE(database);
  ASSERT_TRUE(database.value().execute("CREATE TABLE sandboxes (x); PRAGMA user_version=1;"));
  EXPECT_FALSE(migrate(database.value()));
  auto version = database.value().prepare("PRAGMA user_version");
  ASSERT_TRUE(version.value().step().value());
  EXPECT_EQ(version.value().integer(0), 1);
}

TEST(Migrations, ANewerDatabaseIsLeftAlone) {
  Folder folder;
  std::string path = folder.file("hako.db");
  ASSERT_TRUE(Database::open(path).value().execute("PRAGMA user_version=99"));
  auto opened = open_sqlite_store(path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::failed_precondition);
  EXPECT_NE(opened.error().message().find("newer hako"), std::string::npos);
}

// ---- the version before tenants -----------------------------------------------------------------

/// Makes the database that an older version left: tests/data/schema-<version>.sql.
void make_old_database(const std::string& path, int version) {
  std::ifstream file(HAKO_SOURCE_DIR "/tests/data/schema-" + std::to_string(version) + ".sql");
  std::stringstream text;
  text << file.rdbuf();
  ASSERT_GT(text.str().size(), 1000u);
  auto database = Database::open(path);
  ASSERT_TRUE(database) << database.error().message();
  auto made = database.value().execute(text.str());
  ASSERT_TRUE(made) << made.error().message();
}

/// Every row that a query has, as one text for each.
std::vector<std::string> rows_of(Database& database, const std::string& query, int columns) {
  std::vector<std::string> rows;
  auto statement = database.prepare(query);
  EXPECT_TRUE(statement) << statement.error().message();
  while (statement.value().step().value()) {
    std::string row;
    for (int i = 0; i < columns; ++i) row += statement.value().text(i) + "|";
    rows.push_back(row);
  }
  return rows;
}

/// What a table of schema 5 holds that all later ones must hold as well.
struct OldTable {
  const char* name;
  const char* columns;
  int count;
};
constexpr OldTable kOldTables[] = {
    {"api_keys", "id, hash, label, created_ms, clearance", 5},
    {"sandboxes",
     "id, template, alias, state, started_ms, ends_ms, metadata, access_token, vcpus, memory_mib,"
     " disk_mib, isolation, key_id, options, traffic_token, label, egress",
     17},
    {"templates", "id, name, public, created_ms, updated_ms, key_id, label", 7},
    {"template_builds",
     "id, template_id, state, image, vcpus, memory_mib, disk_mib, created_ms, finished_ms, tags,"
     " reason, step, log",
     13},
    {"template_tags", "template_id, tag, build_id, created_ms", 4},
    {"links", "id, from_box, to_box, port, name, created_ms", 6},
};

std::vector<std::string> old_content(Database& database) {
  std::vector<std::string> all;
  for (const OldTable& table : kOldTables) {
    std::string columns = table.columns;
    auto rows = rows_of(database,
                        "SELECT " + columns + " FROM " + table.name + " ORDER BY " + columns,
                        table.count);
    EXPECT_FALSE(rows.empty()) << table.name;
    for (const std::string& row : rows) all.push_back(std::string(table.name) + ": " + row);
  }
  return all;
}

/// The schema and all rows of whatever version.
std::vector<std::string> everything(Database& database) {
  auto all = rows_of(database, "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name", 3);
  for (const std::string& row : rows_of(database, "PRAGMA user_version", 1)) all.push_back(row);
  for (const std::string& row : old_content(database)) all.push_back(row);
  return all;
}

class SchemaFive : public ::testing::Test {
 protected:
  void SetUp() override { make_old_database(path_, 5); }
  std::vector<std::string> read(std::vector<std::string> (*reader)(Database&)) {
    auto database = Database::open(path_);
    EXPECT_TRUE(database);
    return reader(database.value());
  }

  Folder folder_;
  std::string path_ = folder_.file("hako.db");
};

TEST_F(SchemaFive, EveryRowIsThereAndBelongsToTheDefaultTenant) {
  auto before = read(old_content);
  ASSERT_EQ(before.size(), 18u);
  auto opened = open_sqlite_store(path_);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(read(old_content), before);

  Store& store = *opened.value();
  TenantStore& tenants = store.tenants();
  auto all = tenants.all_tenants().value();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].name, "default");
  EXPECT_EQ(all[0].policy, "");
  EXPECT_EQ(all[0].quota, "");
  EXPECT_FALSE(all[0].suspended);
  EXPECT_GT(all[0].created_ms, 0);

  auto keys = tenants.keys_of("default").value();
  ASSERT_EQ(keys.size(), 3u);
  for (const ApiKey& each : keys) {
    EXPECT_EQ(each.role, each.id == "operator" ? "platform" : "member");
    EXPECT_EQ(each.old_hash + each.user + each.narrowing, "");
    EXPECT_EQ(each.old_until_ms + each.expires_ms, 0);
  }
  EXPECT_EQ(tenants.find_key(std::string(64, 'b'), 0).value()->id, "k-reader");

  auto sandboxes = store.all_sandboxes().value();
  ASSERT_EQ(sandboxes.size(), 3u);
  for (const SandboxRecord& each : sandboxes) {
    EXPECT_EQ(each.tenant, "default");
    EXPECT_EQ(each.agent + each.grants, "");
    EXPECT_TRUE(each.budgets.empty());
  }
  EXPECT_EQ(tenants.usage_of("default").value(), (Usage{3, 3, 768, 8192}));

  auto templates = store.templates().all_templates().value();
  ASSERT_EQ(templates.size(), 2u);
  for (const TemplateRecord& each : templates) {
    EXPECT_EQ(each.tenant, "default");
    EXPECT_EQ(each.agent, "");
  }
  EXPECT_EQ(store.templates().builds_of("tpl-app").value().size(), 2u);
}

TEST_F(SchemaFive, WhatRefersToWhatStillHolds) {
  auto opened = open_sqlite_store(path_);
  ASSERT_TRUE(opened);
  {
    auto database = Database::open(path_);
    EXPECT_EQ(rows_of(database.value(), "PRAGMA foreign_key_check", 3).size(), 0u);
    EXPECT_EQ(rows_of(database.value(), "PRAGMA integrity_check", 1),
              std::vector<std::string>{"ok|"});
    EXPECT_EQ(rows_of(database.value(),
                      "SELECT name FROM sqlite_schema WHERE name LIKE 'new%' OR sql LIKE '%new_%'",
                      1)
                  .size(),
              0u);
  }
  // And is asked of the same connection that was migrated.
  Store& store = *opened.value();
  ASSERT_TRUE(store.templates().remove_template("tpl-app").value());
  EXPECT_EQ(store.templates().find_build("build-1").value(), std::nullopt);
  EXPECT_TRUE(store.templates().tags_of("tpl-app").value().empty());
  EXPECT_TRUE(store.templates().find_build("build-3").value());
  BuildRecord stray;
  stray.id = "build-9";
  stray.template_id = "none";
  EXPECT_FALSE(store.templates().put_build(stray));
  ASSERT_TRUE(store.remove_sandbox("iaaaa").value());
  EXPECT_TRUE(store.links().all_links().value().empty());
}

TEST_F(SchemaFive, ASecondOpeningDoesNothing) {
  ASSERT_TRUE(open_sqlite_store(path_));
  auto after = read(everything);
  ASSERT_TRUE(open_sqlite_store(path_));
  EXPECT_EQ(read(everything), after);
}

TEST_F(SchemaFive, ABrokenReferenceStopsItAndLosesNothing) {
  {
    auto database = Database::open(path_);
    ASSERT_TRUE(database.value().execute(
        "PRAGMA foreign_keys=OFF; UPDATE links SET to_box = 'nowhere' WHERE id = 'link-1'"));
  }
  auto before = read(everything);
  auto opened = open_sqlite_store(path_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::corrupted);
  EXPECT_NE(opened.error().message().find("links"), std::string::npos);
  EXPECT_EQ(read(everything), before);
}

/// After how many steps of SQLite's virtual machine a child is killed; 0: never.
int steps_left = 0;

int count_down(void*) {
  if (steps_left > 0 && --steps_left == 0) ::raise(SIGKILL);
  return 0;
}

int count_steps_of(sqlite3* connection, const char**, const void*) {
  sqlite3_progress_handler(connection, 1, count_down, nullptr);
  return SQLITE_OK;
}

/// Opens the store in a child that is killed after so many steps. What in_child() says of it.
int open_and_be_killed(const std::string& path, int steps) {
  return testing_support::in_child([&] {
    steps_left = steps;
    // SAFETY: this is the form in which SQLite takes such a function.
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(count_steps_of));
    auto opened = open_sqlite_store(path);
    return opened ? 0 : 1;
  });
}

TEST_F(SchemaFive, ACrashAtAnyPointLeavesTheOldOneWhole) {
  auto before = read(everything);
  auto content = read(old_content);
  std::string pristine = folder_.file("pristine.db");
  std::filesystem::copy_file(path_, pristine);
  int killed = 0, left_old = 0;
  for (int steps = 1;; steps += 37) {
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + suffix);
    std::filesystem::copy_file(pristine, path_);
    int ended = open_and_be_killed(path_, steps);
    if (ended != -SIGKILL) {
      EXPECT_EQ(ended, 0);
      break;
    }
    ++killed;
    auto now = read(everything);
    if (now == before) ++left_old;
    // Behind a step's commit it is that step's, and nothing lies between.
    auto version = now.end() - content.size() - 1;
    EXPECT_TRUE(now == before || *version > "5|") << steps;
    auto opened = open_sqlite_store(path_);
    ASSERT_TRUE(opened) << opened.error().message();
    ASSERT_EQ(read(old_content), content) << steps;
  }
  EXPECT_GT(killed, 20);
  EXPECT_GT(left_old, 20);
}

// ---- the version before snapshots ---------------------------------------------------------------

class SchemaSix : public ::testing::Test {
 protected:
  void SetUp() override { make_old_database(path_, 6); }
  /// Every row of every table that schema 6 has, by the columns it has there.
  std::vector<std::string> rows() {
    auto database = Database::open(path_);
    EXPECT_TRUE(database);
    std::vector<std::string> all;
    for (const auto& [table, columns] : kTables) {
      std::string list;
      int count = 0;
      for (size_t at = 0; at < columns.size(); ++count) {
        size_t end = std::min(columns.find(' ', at), columns.size());
        list += (list.empty() ? "" : ", ") + columns.substr(at, end - at);
        at = end + 1;
      }
      auto found = rows_of(database.value(), "SELECT " + list + " FROM " + table + " ORDER BY 1, 2",
                           count);
      EXPECT_FALSE(found.empty()) << table;
      for (const std::string& row : found) all.push_back(table + ": " + row);
    }
    return all;
  }

  const std::vector<std::pair<std::string, std::string>> kTables = {
      {"tenants", "name policy quota suspended created_ms"},
      {"api_keys",
       "id hash old_hash old_until_ms tenant role user label narrowing clearance created_ms "
       "expires_ms"},
      {"revoked_tokens", "identifier key_id until_ms"},
      {"traffic", "tenant period bytes"},
      {"sandboxes",
       "id template alias state started_ms ends_ms metadata access_token vcpus memory_mib disk_mib "
       "isolation key_id options traffic_token label egress tenant agent budgets grants"},
      {"links", "id from_box to_box port name created_ms"},
      {"templates", "id name public created_ms updated_ms key_id label tenant agent"},
      {"template_builds", "id template_id state tags log"},
      {"template_tags", "template_id tag build_id created_ms"},
  };
  Folder folder_;
  std::string path_ = folder_.file("hako.db");
};

TEST_F(SchemaSix, EveryRowIsThereAndHasNeverBeenPaused) {
  auto before = rows();
  auto opened = open_sqlite_store(path_);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(rows(), before);
  Store& store = *opened.value();
  auto sandboxes = store.all_sandboxes().value();
  ASSERT_EQ(sandboxes.size(), 3u);
  for (const SandboxRecord& each : sandboxes) {
    EXPECT_EQ(each.pauses, 0);
    EXPECT_TRUE(each.with_memory);
  }
  EXPECT_TRUE(store.snapshots().all_snapshots("").value().empty());
  EXPECT_EQ(store.tenants().usage_of("acme").value(), (Usage{1, 2, 512, 4096, 0}));
}

TEST_F(SchemaSix, TheNewStatesCanBeWrittenAndLinksStillHold) {
  {
    // The old schema has no such state: else this would show nothing.
    auto database = Database::open(path_);
    EXPECT_FALSE(database.value().execute("UPDATE sandboxes SET state = 'paused'"));
  }
  auto opened = open_sqlite_store(path_);
  ASSERT_TRUE(opened) << opened.error().message();
  Store& store = *opened.value();
  ASSERT_TRUE(store.move_state("iaaaa", SandboxState::running, SandboxState::pausing));
  ASSERT_TRUE(store.set_paused("iaaaa", {1, true, 5}));
  EXPECT_EQ(store.links().all_links().value().size(), 1u);
  ASSERT_TRUE(store.remove_sandbox("iaaaa").value());
  EXPECT_TRUE(store.links().all_links().value().empty());
  auto database = Database::open(path_);
  EXPECT_TRUE(rows_of(database.value(), "PRAGMA foreign_key_check", 3).empty());
  EXPECT_EQ(rows_of(database.value(), "PRAGMA integrity_check", 1),
            std::vector<std::string>{"ok|"});
}

TEST_F(SchemaSix, ACrashAtAnyPointLeavesTheOldOneOrTheNew) {
  auto content = rows();
  std::string pristine = folder_.file("pristine.db");
  std::filesystem::copy_file(path_, pristine);
  int killed = 0;
  for (int steps = 1;; steps += 53) {
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + suffix);
    std::filesystem::copy_file(pristine, path_);
    int ended = open_and_be_killed(path_, steps);
    if (ended != -SIGKILL) {
      EXPECT_EQ(ended, 0);
      break;
    }
    ++killed;
    auto opened = open_sqlite_store(path_);
    ASSERT_TRUE(opened) << opened.error().message();
    ASSERT_EQ(rows(), content) << steps;
  }
  EXPECT_GT(killed, 10);
}

// ---- the version before secrets -----------------------------------------------------------------

TEST(SchemaSeven, EveryRowIsThereAndSecretsCanBeKept) {
  Folder folder;
  std::string path = folder.file("hako.db");
  make_old_database(path, 7);
  auto content = [&path] {
    auto database = Database::open(path);
    EXPECT_TRUE(database);
    std::vector<std::string> all;
    for (const char* table : {"tenants", "api_keys", "sandboxes", "templates", "template_builds",
                              "template_tags", "links", "revoked_tokens", "traffic", "snapshots"}) {
      std::string query = "SELECT * FROM " + std::string(table) + " ORDER BY 1, 2";
      auto rows = rows_of(database.value(), query, 4);
      EXPECT_FALSE(rows.empty()) << table;
      for (const std::string& row : rows) all.push_back(table + (": " + row));
    }
    return all;
  };
  auto before = content();
  auto opened = open_sqlite_store(path);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(content(), before);
  SecretStore& secrets = opened.value()->secrets();
  EXPECT_TRUE(secrets.secrets_of("acme").value().empty());
  SecretRecord record;
  record.id = "sec_1";
  record.tenant = "acme";
  record.name = "key";
  EXPECT_TRUE(secrets.add_secret(record));
  EXPECT_EQ(secrets.find_secret("sec_1").value(), record);
}

TEST(SchemaSeven, CallsOfModelsOfOldBoxesAreCounted) {
  Folder folder;
  std::string path = folder.file("hako.db");
  make_old_database(path, 7);
  {
    auto database = Database::open(path);
    EXPECT_FALSE(database.value().execute("SELECT * FROM model_budgets")) << "else it shows nothing";
  }
  auto opened = open_sqlite_store(path);
  ASSERT_TRUE(opened) << opened.error().message();
  auto boxes = opened.value()->all_sandboxes().value();
  ASSERT_FALSE(boxes.empty());
  ModelStore& models = opened.value()->models();
  EXPECT_TRUE(models.usage({}).value().empty());
  EXPECT_TRUE(models.all_stops().value().empty());
  auto reserved = models.reserve(boxes[0].id, [&](const auto& facts, const auto&) {
    ModelReservation made;
    made.id = "r1";
    made.box = facts.box.id;
    made.budgets = {{"box:" + facts.box.id, ""}};
    return Result<ModelReservation>(made);
  });
  ASSERT_TRUE(reserved) << reserved.error().message();
  EXPECT_EQ(models.count_of({"box:" + boxes[0].id, ""}).value().open.requests, 1);
}

}  // namespace
}  // namespace hako::store
