#include "store/store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/async/task_group.h"
#include "store/async_store.h"
#include "store/sqlite.h"
#include "support/store_fixture.h"

namespace hako::store {
namespace {

/// What every kind of store must do; a second kind is added to kStores.
using OpenStore = Result<std::unique_ptr<Store>> (*)();
struct Kind {
  const char* name;
  OpenStore open;
};

class StoreTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    auto opened = GetParam().open();
    ASSERT_TRUE(opened) << opened.error().message();
    store_ = std::move(opened.value());
  }
  void add_running(const SandboxRecord& made) {
    ASSERT_TRUE(store_->add_sandbox(made));
    Started started{made.started_ms, 2, 512, 4096, "emulated"};
    ASSERT_TRUE(store_->set_running(made.id, started));
  }
  std::vector<std::string> ids(const SandboxQuery& query) {
    auto found = store_->list_sandboxes(query);
    EXPECT_TRUE(found);
    std::vector<std::string> result;
    for (const auto& each : found.value()) result.push_back(each.id);
    return result;
  }

  std::unique_ptr<Store> store_;
};

using Ids = std::vector<std::string>;

TEST_P(StoreTest, LinksGoWithEitherSandbox) {
  LinkStore& links = store_->links();
  for (const char* id : {"ia", "ib", "ic"}) add_running(record(id, 1));
  LinkRecord first{.id = "l1", .from = "ia", .to = "ib", .port = 80, .name = "b.box"};
  LinkRecord second{.id = "l2", .from = "ic", .to = "ia", .port = 22, .name = "b.box"};
  ASSERT_TRUE(links.add_link(first));
  ASSERT_TRUE(links.add_link(second));
  EXPECT_EQ(links.find_link("l1").value(), first);
  EXPECT_EQ(links.all_links().value(), (std::vector<LinkRecord>{first, second}));
  EXPECT_EQ(links.links_of("ib").value(), std::vector<LinkRecord>{first});
  LinkRecord twin{.id = "l3", .from = "ia", .to = "ic", .port = 80, .name = "b.box"};
  EXPECT_EQ(links.add_link(twin).error().code(), ErrorCode::already_exists);
  LinkRecord stray{.id = "l4", .from = "ia", .to = "inone", .port = 80, .name = "c.box"};
  EXPECT_EQ(links.add_link(stray).error().code(), ErrorCode::not_found);

  ASSERT_TRUE(store_->remove_sandbox("ib"));
  EXPECT_EQ(links.all_links().value(), std::vector<LinkRecord>{second});
  EXPECT_TRUE(links.remove_link("l2").value());
  EXPECT_FALSE(links.remove_link("l2").value());
  ASSERT_TRUE(links.add_link(second));
  ASSERT_TRUE(links.remove_links_of("ia"));
  EXPECT_TRUE(links.all_links().value().empty());
}

TEST_P(StoreTest, LinksAreListedBySandboxesThatAreSeen) {
  LinkStore& links = store_->links();
  TenantRecord acme;
  acme.name = "acme";
  ASSERT_TRUE(store_->tenants().add_tenant(acme));
  for (const char* id : {"ia", "ib", "ic", "id"}) {
    SandboxRecord made = record(id, 1000);
    if (id[1] > 'b') made.tenant = "acme";
    if (id[1] == 'c') made.agent = "build";
    add_running(made);
  }
  LinkRecord ours{.id = "l1", .from = "ia", .to = "ib", .port = 80, .name = "b.box"};
  LinkRecord theirs{.id = "l2", .from = "ic", .to = "id", .port = 80, .name = "b.box"};
  LinkRecord others{.id = "l3", .from = "id", .to = "ic", .port = 80, .name = "b.box"};
  for (const LinkRecord& link : {ours, theirs, others}) ASSERT_TRUE(links.add_link(link));
  using Links = std::vector<LinkRecord>;
  SandboxQuery query;
  EXPECT_EQ(links.list_links(query).value(), (Links{ours, theirs, others}));
  query.tenant = "acme";
  EXPECT_EQ(links.list_links(query).value(), (Links{theirs, others}));
  query.agent = "build";
  EXPECT_EQ(links.list_links(query).value(), Links{theirs});
  query.ids.emplace();
  EXPECT_TRUE(links.list_links(query).value().empty());
  SandboxQuery later;
  later.alive_at_ms = 2000;
  EXPECT_TRUE(links.list_links(later).value().empty());
}

TEST_P(StoreTest, OptionsAreKeptAndReplaced) {
  SandboxRecord made = record("iopt", 1000);
  made.options = R"({"network":{}})";
  made.traffic_token = "traffic";
  add_running(made);
  auto found = store_->find_sandbox("iopt");
  ASSERT_TRUE(found && found.value());
  EXPECT_EQ(found.value()->options, made.options);
  EXPECT_EQ(found.value()->traffic_token, "traffic");
  EXPECT_EQ(found.value()->label, "public");
  SandboxEgress changed{"internal", "{}", R"({"layers":[]})", "other", "[]"};
  ASSERT_TRUE(store_->set_egress("iopt", changed));
  found = store_->find_sandbox("iopt");
  EXPECT_EQ(found.value()->options, "{}");
  EXPECT_EQ(found.value()->label, "internal");
  EXPECT_EQ(found.value()->egress, changed.egress);
  EXPECT_EQ(found.value()->traffic_token, "other");
  EXPECT_EQ(found.value()->grants, "[]");
  EXPECT_EQ(ids({.labels = std::vector<std::string>{"public"}}), Ids{});
  EXPECT_EQ(ids({.labels = std::vector<std::string>{"public", "internal"}}), Ids{"iopt"});
  auto missing = store_->set_egress("inone", changed);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
}

TEST_P(StoreTest, ASandboxIsStartingThenRunningThenGone) {
  SandboxRecord made = record("i1", 100, R"({"a":"b"})");
  ASSERT_TRUE(store_->add_sandbox(made));
  EXPECT_EQ(store_->find_sandbox("i1").value(), made);
  EXPECT_EQ(ids({}), Ids{});

  ASSERT_TRUE(store_->set_running("i1", {150, 2, 512, 4096, "hardware"}));
  made.state = SandboxState::running;
  made.started_ms = 150;
  made.vcpus = 2;
  made.memory_mib = 512;
  made.disk_mib = 4096;
  made.isolation = "hardware";
  EXPECT_EQ(store_->find_sandbox("i1").value(), made);
  EXPECT_EQ(ids({}), Ids{"i1"});

  EXPECT_TRUE(store_->remove_sandbox("i1").value());
  EXPECT_FALSE(store_->remove_sandbox("i1").value());
  EXPECT_FALSE(store_->find_sandbox("i1").value());
}

TEST_P(StoreTest, TheSameIdTwiceIsRefused) {
  ASSERT_TRUE(store_->add_sandbox(record("i1", 1)));
  EXPECT_EQ(store_->add_sandbox(record("i1", 2)).error().code(), ErrorCode::already_exists);
}

TEST_P(StoreTest, ChangesToMissingSandboxesAreNotFound) {
  EXPECT_EQ(store_->set_running("i1", {}).error().code(), ErrorCode::not_found);
  EXPECT_EQ(store_->set_end("i1", 5).error().code(), ErrorCode::not_found);
}

TEST_P(StoreTest, EndedOnesAreNotListed) {
  add_running(record("i1", 100));
  EXPECT_EQ(ids({.alive_at_ms = 1099}), Ids{"i1"});
  EXPECT_EQ(ids({.alive_at_ms = 1100}), Ids{});
  ASSERT_TRUE(store_->set_end("i1", 5000));
  EXPECT_EQ(ids({.alive_at_ms = 1100}), Ids{"i1"});
}

TEST_P(StoreTest, ListsInPagesInBothOrders) {
  for (int i = 0; i < 5; ++i) add_running(record("i" + std::to_string(i), i < 3 ? 100 : 200));
  SandboxQuery query{.order = Order::newest_first, .limit = 2};
  EXPECT_EQ(ids(query), (Ids{"i4", "i3"}));
  query.behind = Position{200, "i3"};
  EXPECT_EQ(ids(query), (Ids{"i2", "i1"}));
  query.behind = Position{100, "i1"};
  EXPECT_EQ(ids(query), (Ids{"i0"}));
  EXPECT_EQ(store_->count_sandboxes(query).value(), 5);
  query = {.order = Order::oldest_first, .behind = Position{100, "i1"}, .limit = 2};
  EXPECT_EQ(ids(query), (Ids{"i2", "i3"}));
}

TEST_P(StoreTest, FiltersByTemplateAndStart) {
  add_running(record("i1", 100));
  SandboxRecord other = record("i2", 200);
  other.template_name = "node";
  other.alias = "";
  add_running(other);
  EXPECT_EQ(ids({.template_name = "base"}), Ids{"i1"});
  EXPECT_EQ(ids({.template_name = "second-name"}), Ids{"i1"});
  EXPECT_EQ(ids({.started_from_ms = 200}), Ids{"i2"});
  EXPECT_EQ(ids({.started_from_ms = 100}), (Ids{"i2", "i1"}));
}

TEST_P(StoreTest, AllMetadataPairsMustMatch) {
  add_running(record("i1", 1, R"({"user":"a","stage":"x"})"));
  add_running(record("i2", 2, R"({"user":"a","we\"ird $.k":"v%_ü"})"));
  add_running(record("i3", 3));
  EXPECT_EQ(ids({.metadata = {{"user", "a"}}}), (Ids{"i2", "i1"}));
  EXPECT_EQ(ids({.metadata = {{"user", "a"}, {"stage", "x"}}}), Ids{"i1"});
  EXPECT_EQ(ids({.metadata = {{"we\"ird $.k", "v%_ü"}}}), Ids{"i2"});
  EXPECT_EQ(ids({.metadata = {{"user", ""}}}), Ids{});
  EXPECT_EQ(store_->count_sandboxes({.metadata = {{"user", "a"}}, .limit = 1}).value(), 2);
}

TEST_P(StoreTest, TextIsNeverTakenForSql) {
  SandboxRecord made = record("i'; DROP TABLE sandboxes; --", 1);
  made.access_token = std::string("a\0b", 3);
  add_running(made);
  auto found = store_->find_sandbox(made.id);
  ASSERT_TRUE(found && found.value());
  EXPECT_EQ(found.value()->access_token, std::string("a\0b", 3));
}

TEST_P(StoreTest, TemplatesHaveBuildsAndTags) {
  TemplateStore& templates = store_->templates();
  TemplateRecord what{.id = "t1", .name = "team/app", .created_ms = 1, .updated_ms = 1, .key_id = "k"};
  ASSERT_TRUE(templates.put_template(what));
  what.is_public = true;
  what.label = "internal";
  ASSERT_TRUE(templates.put_template(what));
  EXPECT_EQ(templates.find_template("default", "t1").value(), what);
  EXPECT_EQ(templates.find_template("default", "team/app").value(), what);
  EXPECT_EQ(templates.find_template("default", "app").value(), std::nullopt);
  TemplateRecord twin{.id = "t2", .name = "team/app"};
  EXPECT_EQ(templates.put_template(twin).error().code(), ErrorCode::already_exists);

  BuildRecord build{.id = "b1", .template_id = "t1", .created_ms = 5, .tags = {"v1", "latest"}};
  ASSERT_TRUE(templates.put_build(build));
  EXPECT_EQ(templates.find_build("b1").value(), build);
  build.state = BuildState::ready;
  build.is_image = true;
  build.log = "[]";
  ASSERT_TRUE(templates.put_build(build));
  BuildRecord later{.id = "b2", .template_id = "t1", .created_ms = 6};
  ASSERT_TRUE(templates.put_build(later));
  ASSERT_TRUE(templates.fail_unfinished_builds("stopped"));
  later.state = BuildState::error;
  later.reason = "stopped";
  build.log.clear();  // lists go without
  EXPECT_EQ(templates.builds_of("t1").value(), (std::vector<BuildRecord>{later, build}));

  ASSERT_TRUE(templates.set_tags("t1", "b1", {"v1", "latest"}, 7));
  ASSERT_TRUE(templates.set_tags("t1", "b2", {"latest"}, 8));
  ASSERT_TRUE(templates.remove_tags("t1", {"none"}));
  std::vector<TagRecord> tags = {{"latest", "b2", 8}, {"v1", "b1", 7}};
  EXPECT_EQ(templates.tags_of("t1").value(), tags);
  ASSERT_TRUE(templates.remove_tags("t1", {"latest"}));
  EXPECT_EQ(templates.tags_of("t1").value().size(), 1u);

  EXPECT_TRUE(templates.remove_template("t1").value());
  EXPECT_FALSE(templates.remove_template("t1").value());
  EXPECT_EQ(templates.find_build("b1").value(), std::nullopt);
  EXPECT_TRUE(templates.tags_of("t1").value().empty());
}

TEST_P(StoreTest, ASandboxIsPausedAndResumed) {
  add_running(record("i1", 100));
  using enum SandboxState;
  EXPECT_EQ(store_->set_resumed("i1", {}, 5).error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(store_->move_state("i1", paused, resuming).error().code(),
            ErrorCode::failed_precondition);
  ASSERT_TRUE(store_->move_state("i1", running, pausing));
  // The second of two at once finds the first.
  auto second = store_->move_state("i1", running, pausing);
  EXPECT_EQ(second.error().code(), ErrorCode::failed_precondition);
  EXPECT_NE(second.error().message().find("pausing"), std::string::npos);
  ASSERT_TRUE(store_->set_paused("i1", {1, false, 777}));
  auto found = store_->find_sandbox("i1").value();
  EXPECT_EQ(found->state, paused);
  EXPECT_EQ(found->pauses, 1);
  EXPECT_FALSE(found->with_memory);
  EXPECT_EQ(found->ends_ms, 777);
  EXPECT_EQ(store_->set_paused("i1", {2, true, 9}).error().code(),
            ErrorCode::failed_precondition);

  ASSERT_TRUE(store_->move_state("i1", paused, resuming));
  ASSERT_TRUE(store_->set_resumed("i1", {999, 4, 1024, 8192, "hardware"}, 5000));
  found = store_->find_sandbox("i1").value();
  EXPECT_EQ(found->state, running);
  EXPECT_EQ(found->started_ms, 100);  // how long it may live counts from then
  EXPECT_EQ(found->ends_ms, 5000);
  EXPECT_EQ(found->memory_mib, 1024);
  // Its end may pause it without anybody having asked.
  ASSERT_TRUE(store_->set_paused("i1", {2, true, 5000}));
  for (SandboxState to : {pausing, resuming}) {
    EXPECT_EQ(store_->move_state("inone", running, to).error().code(), ErrorCode::not_found);
  }
  EXPECT_EQ(store_->set_paused("inone", {}).error().code(), ErrorCode::not_found);
  EXPECT_EQ(store_->set_resumed("inone", {}, 1).error().code(), ErrorCode::not_found);
}

TEST_P(StoreTest, PausedOnesAreListedWhereTheyAreAskedFor) {
  using enum SandboxState;
  for (const char* id : {"i1", "i2", "i3", "i4"}) add_running(record(id, 100));
  ASSERT_TRUE(store_->set_paused("i2", {1, true, 5}));
  ASSERT_TRUE(store_->move_state("i3", running, pausing));
  ASSERT_TRUE(store_->set_paused("i4", {1, true, 5}));
  ASSERT_TRUE(store_->move_state("i4", paused, resuming));
  EXPECT_EQ(ids({.alive_at_ms = 500}), Ids{"i1"});
  EXPECT_EQ(ids({.paused = true, .alive_at_ms = 500}), (Ids{"i4", "i3", "i2", "i1"}));
  EXPECT_EQ(ids({.running = false, .paused = true, .alive_at_ms = 500}), (Ids{"i4", "i3", "i2"}));
  EXPECT_EQ(ids({.running = false, .alive_at_ms = 500}), Ids{});
  // The end of a running one ends it; that of a paused one has been.
  EXPECT_EQ(ids({.paused = true, .alive_at_ms = 5000}), (Ids{"i4", "i3", "i2"}));
}

TEST_P(StoreTest, APausedOneTakesNothingButItsDisk) {
  for (const char* id : {"i1", "i2"}) add_running(record(id, 100));
  EXPECT_EQ(store_->tenants().usage_of("default").value(), (Usage{2, 4, 1024, 8192, 0}));
  ASSERT_TRUE(store_->set_paused("i1", {1, true, 5}));
  EXPECT_EQ(store_->tenants().usage_of("default").value(), (Usage{1, 2, 512, 8192, 1}));
  // While it comes back, it counts.
  ASSERT_TRUE(store_->move_state("i1", SandboxState::paused, SandboxState::resuming));
  EXPECT_EQ(store_->tenants().usage_of("default").value(), (Usage{2, 4, 1024, 8192, 0}));
}

TEST_P(StoreTest, SnapshotsAreNamedListedAndCounted) {
  SnapshotStore& snapshots = store_->snapshots();
  SnapshotRecord first{.id = "s-1", .sandbox = "i1", .template_name = "base", .alias = "b",
                       .agent = "build", .key_id = "k", .label = "internal", .options = "{}",
                       .vcpus = 2, .memory_mib = 512, .disk_mib = 4096, .created_ms = 5};
  SnapshotRecord second{.id = "s-2", .sandbox = "i1", .disk_mib = 1000, .created_ms = 6};
  ASSERT_TRUE(snapshots.add_snapshot(first));
  EXPECT_EQ(snapshots.find_snapshot("s-1").value(), first);
  EXPECT_EQ(snapshots.add_snapshot(first).error().code(), ErrorCode::already_exists);
  SnapshotRecord stray{.id = "s-3", .tenant = "nobody"};
  EXPECT_EQ(snapshots.add_snapshot(stray).error().code(), ErrorCode::not_found);
  ASSERT_TRUE(snapshots.set_snapshot_ready("s-1", {"app:default", "secret", 1 << 20}));
  first.state = SnapshotState::ready;
  first.name = "app:default";
  first.label = "secret";
  first.bytes = 1 << 20;
  EXPECT_EQ(snapshots.find_snapshot_named("default", "app:default").value(), first);
  EXPECT_EQ(snapshots.find_snapshot_named("acme", "app:default").value(), std::nullopt);
  EXPECT_EQ(snapshots.find_snapshot_named("default", "").value(), std::nullopt);
  EXPECT_EQ(store_->tenants().usage_of("default").value().disk_mib, 4096);

  ASSERT_TRUE(snapshots.add_snapshot(second));
  ASSERT_TRUE(snapshots.set_snapshot_ready("s-2", {"app:default", "public", 7}));
  EXPECT_EQ(snapshots.find_snapshot_named("default", "app:default").value()->id, "s-2");
  EXPECT_EQ(snapshots.find_snapshot("s-1").value()->name, "");
  auto all = snapshots.all_snapshots("default").value();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, "s-2");
  EXPECT_EQ(snapshots.all_snapshots("").value().size(), 2u);
  EXPECT_TRUE(snapshots.all_snapshots("acme").value().empty());
  EXPECT_EQ(store_->tenants().usage_of("default").value().disk_mib, 5096);
  // Two without a name are no clash.
  ASSERT_TRUE(snapshots.set_snapshot_ready("s-1", {"", "secret", 1}));
  ASSERT_TRUE(snapshots.set_snapshot_ready("s-2", {"", "secret", 1}));
  EXPECT_EQ(snapshots.set_snapshot_ready("s-9", {}).error().code(), ErrorCode::not_found);
  EXPECT_TRUE(snapshots.remove_snapshot("s-1").value());
  EXPECT_FALSE(snapshots.remove_snapshot("s-1").value());
}

TEST_P(StoreTest, ATenantWithSnapshotsStays) {
  TenantRecord acme;
  acme.name = "acme";
  ASSERT_TRUE(store_->tenants().add_tenant(acme));
  SnapshotRecord kept{.id = "s-1", .tenant = "acme"};
  ASSERT_TRUE(store_->snapshots().add_snapshot(kept));
  auto refused = store_->tenants().remove_tenant("acme");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("snapshots"), std::string::npos);
  ASSERT_TRUE(store_->snapshots().remove_snapshot("s-1").value());
  EXPECT_TRUE(store_->tenants().remove_tenant("acme"));
}

const Kind kStores[] = {{"Sqlite", open_in_memory}};
INSTANTIATE_TEST_SUITE_P(All, StoreTest, ::testing::ValuesIn(kStores),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(SqliteStore, KeepsWhatItHeldAndIsClosedToOthers) {
  Folder folder;
  std::string path = folder.file("hako.db");
  {
    auto opened = open_sqlite_store(path);
    ASSERT_TRUE(opened);
    ASSERT_TRUE(opened.value()->tenants().put_key(key("operator", "aa")));
  }
  auto opened = open_sqlite_store(path);
  ASSERT_TRUE(opened);
  EXPECT_TRUE(opened.value()->tenants().find_key("aa", 0).value());
  for (const char* suffix : {"", "-wal", "-shm"}) {
    auto mode = std::filesystem::status(path + suffix).permissions();
    EXPECT_EQ(int(mode), 0600) << suffix;
  }
}

TEST(SqliteStore, ADamagedFileIsSaidClearly) {
  Folder folder;
  std::string path = folder.file("hako.db");
  std::ofstream(path) << std::string(8192, 'x');
  auto opened = open_sqlite_store(path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::corrupted);
  EXPECT_NE(opened.error().message().find(path), std::string::npos);
  EXPECT_NE(opened.error().message().find("restore it from a backup"), std::string::npos);
}

TEST(SqliteStore, DamageInsideIsFoundAtTheStart) {
  Folder folder;
  std::string path = folder.file("hako.db");
  {
    auto opened = open_sqlite_store(path);
    ASSERT_TRUE(opened);
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(opened.value()->add_sandbox(record("i" + std::to_string(i), i)));
    }
  }
  size_t size = std::filesystem::file_size(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(long(size / 2));
  file << std::string(4096, '\xee');
  file.close();
  auto opened = open_sqlite_store(path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::corrupted);
}

TEST(Transactions, RollBackUnlessCommitted) {
  auto database = Database::open(":memory:");
  ASSERT_TRUE(database);
  ASSERT_TRUE(database.value().execute("CREATE TABLE t (x)"));
  {
    auto transaction = Transaction::begin(database.value());
    ASSERT_TRUE(transaction);
    ASSERT_TRUE(database.value().execute("INSERT INTO t VALUES (1)"));
  }
  auto count = database.value().prepare("SELECT count(*) FROM t");
  ASSERT_TRUE(count.value().step().value());
  EXPECT_EQ(count.value().integer(0), 0);
}

TEST(Sqlite, ALockHeldElsewhereIsUnavailable) {
  Folder folder;
  std::string path = folder.file("hako.db");
  auto first = Database::open(path);
  auto second = Database::open(path);
  ASSERT_TRUE(first && second);
  ASSERT_TRUE(second.value().execute("PRAGMA busy_timeout=1"));
  auto transaction = Transaction::begin(first.value());
  ASSERT_TRUE(transaction);
  auto blocked = Transaction::begin(second.value());
  ASSERT_FALSE(blocked);
  EXPECT_EQ(blocked.error().code(), ErrorCode::unavailable);
}

Task<void> use_store(AsyncStore& store, int& found) {
  auto put = [](TenantStore& tenants) { return tenants.put_key(key("operator", "aa")); };
  (void)co_await store.with_tenants(std::move(put));
  for (int i = 0; i < 50; ++i) {
    auto find = [](TenantStore& tenants) { return tenants.find_key("aa", 0); };
    auto key_found = co_await store.with_tenants(std::move(find));
    if (key_found && key_found.value()) ++found;
  }
}

TEST(AsyncStore, AnswersManyAtOnceOnOneThread) {
  asio::io_context context;
  AsyncStore store(std::move(open_sqlite_store(":memory:").value()));
  TaskGroup tasks(context.get_executor());
  int found = 0;
  for (int i = 0; i < 10; ++i) tasks.spawn("user", use_store(store, found));
  context.run();
  EXPECT_EQ(found, 500);
}

// ---- secrets ------------------------------------------------------------------------------------

SecretRecord secret(const std::string& id, const std::string& name,
                    const std::string& tenant = kDefaultTenant, int64_t created_ms = 1) {
  SecretRecord record;
  record.id = id;
  record.tenant = tenant;
  record.name = name;
  record.sealed = "sealed-" + id;
  record.shape = "4:20:";
  record.hosts = R"(["a.example"])";
  record.use = R"([{"kind":"bearer"}])";
  record.env = "KEY";
  record.label = "internal";
  record.grants = R"([{"tenant":"default"}])";
  record.metadata = R"({"k":"v"})";
  record.key_id = "k1";
  record.created_ms = record.updated_ms = created_ms;
  return record;
}

TEST_P(StoreTest, ASecretComesBackAsItWasKept) {
  SecretStore& secrets = store_->secrets();
  SecretRecord record = secret("sec_1", "a");
  ASSERT_TRUE(secrets.add_secret(record));
  EXPECT_EQ(secrets.find_secret("sec_1").value(), record);
  EXPECT_EQ(secrets.find_secret("sec_2").value(), std::nullopt);
  EXPECT_EQ(secrets.add_secret(secret("sec_2", "a")).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(secrets.add_secret(secret("sec_3", "b", "nobody")).error().code(), ErrorCode::not_found);
  record.version = 2;
  record.sealed = "other";
  record.hosts = record.grants = record.metadata = record.env = "";
  record.label = "secret";
  record.updated_ms = 5;
  ASSERT_TRUE(secrets.put_secret(record));
  EXPECT_EQ(secrets.find_secret("sec_1").value(), record);
  EXPECT_EQ(secrets.put_secret(secret("sec_9", "x")).error().code(), ErrorCode::not_found);
  EXPECT_TRUE(secrets.remove_secret("sec_1").value());
  EXPECT_FALSE(secrets.remove_secret("sec_1").value());
}

TEST_P(StoreTest, SecretsAreATenantsAndGrantedOnesComeLast) {
  for (const char* name : {"acme", "other"}) {
    TenantRecord tenant;
    tenant.name = name;
    ASSERT_TRUE(store_->tenants().add_tenant(tenant));
  }
  SecretStore& secrets = store_->secrets();
  SecretRecord shared = secret("sec_1", "shared");
  shared.grants = R"([{"agent":"acme"},{"tenant":"acme"},{"tenant":"acme"}])";
  ASSERT_TRUE(secrets.add_secret(shared));
  ASSERT_TRUE(secrets.add_secret(secret("sec_2", "late", "acme", 9)));
  ASSERT_TRUE(secrets.add_secret(secret("sec_3", "early", "acme", 5)));
  SecretRecord nobodys = secret("sec_4", "x", "other");
  nobodys.grants = "";
  ASSERT_TRUE(secrets.add_secret(nobodys));
  auto names = [](const std::vector<SecretRecord>& list) {
    std::string all;
    for (const SecretRecord& each : list) all += each.name + " ";
    return all;
  };
  EXPECT_EQ(names(secrets.secrets_of("acme").value()), "early late ");
  EXPECT_EQ(names(secrets.secrets_for("acme").value()), "early late shared ");
  EXPECT_EQ(names(secrets.secrets_for("other").value()), "x ");
  ASSERT_TRUE(store_->tenants().remove_tenant("acme"));
  EXPECT_EQ(secrets.find_secret("sec_2").value(), std::nullopt) << "they go with their tenant";
  EXPECT_TRUE(secrets.find_secret("sec_1").value());
}

}  // namespace
}  // namespace hako::store
