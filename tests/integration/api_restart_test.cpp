// What the API finds when it starts.
#include <filesystem>

#include "base/clock.h"
#include "store/store.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;

using ApiRestartTest = ApiFixture;

store::SandboxRecord old_record(const std::string& id, store::SandboxState state) {
  store::SandboxRecord made;
  made.id = id;
  made.template_name = "base";
  made.state = state;
  made.started_ms = to_unix_ms(WallClock::now()) - 100'000;
  made.ends_ms = made.started_ms + 1'000'000;
  made.isolation = "emulated";
  return made;
}

json::object box_of(const store::SandboxRecord& record) {
  json::object box;
  box["box"] = record.id;
  box["started_ms"] = record.started_ms;
  box["ends_ms"] = record.ends_ms;
  return box;
}

TEST_F(ApiRestartTest, ARestartBringsRecordsAndBoxesTogether) {
  without_api([](ApiLab& lab) -> Task<void> {
    using store::SandboxState;
    auto kept = old_record("ikept", SandboxState::running);
    auto lost = old_record("ilost", SandboxState::running);
    auto cut = old_record("icut", SandboxState::starting);
    auto stray = old_record("istray", SandboxState::running);
    auto young = stray;
    young.id = "iyoung";
    young.started_ms = to_unix_ms(WallClock::now());
    {
      std::filesystem::create_directories(lab.config.state_dir + "/api");
      auto store = store::open_sqlite_store(lab.config.database());
      CO_ASSERT_TRUE(store);
      for (const auto& each : {kept, lost, cut}) CO_ASSERT_TRUE(store.value()->add_sandbox(each));
    }
    json::object moved = box_of(kept);
    moved["ends_ms"] = kept.ends_ms + 5000;
    lab.node.boxes["ikept"] = moved;
    for (const auto& each : {cut, stray, young}) lab.node.boxes[each.id] = box_of(each);
    co_await lab.start();
    std::function<bool()> settled = [&lab] { return lab.node.boxes.size() == 2; };
    EXPECT_TRUE(co_await lab.eventually(std::move(settled)));
    EXPECT_EQ(lab.node.boxes.count("ikept"), 1u);
    EXPECT_EQ(lab.node.boxes.count("iyoung"), 1u);
    EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/ilost", 404));
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/ikept");
    EXPECT_EQ(detail.status, 200u);
    json::value end(to_rfc3339(from_unix_ms(kept.ends_ms + 5000)));
    EXPECT_EQ(detail.body.at("endAt"), end);
    co_await lab.stop_api();
    auto store = store::open_sqlite_store(lab.config.database());
    EXPECT_EQ(store.value()->all_sandboxes().value().size(), 1u);
  });
}

TEST_F(ApiRestartTest, SandboxesOutliveARestart) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    std::string key = lab.key;
    co_await lab.stop_api();
    EXPECT_TRUE(co_await lab.start_api());
    EXPECT_EQ(lab.key, key);
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.status, 200u);
  });
}

TEST_F(ApiRestartTest, EmulatedBoxesStayOnLoopback) {
  without_api([](ApiLab& lab) -> Task<void> {
    lab.config.api_address = "0.0.0.0";
    lab.config.allow_plain_api_beyond_loopback = true;
    lab.node.start();
    EXPECT_FALSE(co_await lab.start_api());
    CO_ASSERT_TRUE(lab.outcome && !*lab.outcome);
    EXPECT_EQ(lab.outcome->error().code(), ErrorCode::permission_denied);
    EXPECT_NE(lab.outcome->error().message().find("allow_emulated_beyond_loopback"),
              std::string::npos);
    co_await lab.stop_api();

    lab.node.isolation = "hardware";
    EXPECT_TRUE(co_await lab.start_api());
    // A node that comes back with a weaker wall ends it.
    co_await lab.node.stop();
    lab.node.isolation = "emulated";
    lab.node.start();
    std::function<bool()> ended = [&lab] { return lab.outcome.has_value(); };
    EXPECT_TRUE(co_await lab.eventually(std::move(ended)));
    co_await lab.stop_api();

    lab.config.allow_emulated_beyond_loopback = true;
    EXPECT_TRUE(co_await lab.start_api());
  });
}

TEST_F(ApiRestartTest, ADamagedDatabaseStopsTheStart) {
  without_api([](ApiLab& lab) -> Task<void> {
    std::filesystem::create_directories(lab.config.state_dir + "/api");
    auto written = write_file_atomically(lab.config.database(), std::string(9000, 'x'), 0600);
    CO_ASSERT_TRUE(written);
    EXPECT_FALSE(co_await lab.start_api());
    CO_ASSERT_TRUE(lab.outcome && !*lab.outcome);
    EXPECT_EQ(lab.outcome->error().code(), ErrorCode::corrupted);
    EXPECT_NE(lab.outcome->error().message().find(lab.config.database()), std::string::npos);
  });
}

}  // namespace
}  // namespace hako::test
