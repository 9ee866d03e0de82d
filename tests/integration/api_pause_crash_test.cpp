// What a crash leaves of sandboxes that are being paused or resumed.
#include "api/checkpoints.h"
#include "base/clock.h"
#include "support/api_pausing.h"

namespace hako::test {
namespace {

using http::Verb;
using store::SandboxState;

using ApiPauseCrashTest = ApiFixture;

/// What was written when the API ended, what the node has, and what must come of it.
struct Crash {
  SandboxState state;
  int pauses;
  bool box;
  std::vector<int> checkpoints;  ///< numbers of those that the node keeps
  const char* becomes;           ///< "running 0", "paused 1", "gone"
  std::vector<int> left;         ///< numbers of those that are there at the end
};

TEST_F(ApiPauseCrashTest, WhateverACrashComesInBetweenOfIsSettled) {
  without_api([](ApiLab& lab) -> Task<void> {
    using enum SandboxState;
    const std::vector<Crash> kCrashes = {
        {running, 0, true, {}, "running 0", {}},
        {running, 0, false, {}, "gone", {}},
        // It has been paused at its end, or by a pause that nobody waited for.
        {running, 0, false, {1}, "paused 1", {1}},
        {running, 2, false, {3}, "paused 3", {3}},
        // Behind a resume of which nobody was told, as what it was resumed from goes before.
        {running, 1, true, {1}, "running 1", {}},
        {running, 1, false, {1}, "paused 1", {1}},
        // The pause had not begun, was under way, or was done.
        {pausing, 0, true, {}, "running 0", {}},
        {pausing, 0, true, {1}, "running 0", {}},
        {pausing, 0, false, {1}, "paused 1", {1}},
        {pausing, 1, false, {1, 2}, "paused 2", {2}},
        {pausing, 0, false, {}, "gone", {}},
        {paused, 1, false, {1}, "paused 1", {1}},
        {paused, 2, false, {1, 2}, "paused 2", {2}},
        {paused, 1, false, {}, "gone", {}},
        {paused, 1, true, {1}, "running 1", {}},
        // The same of a resume.
        {resuming, 1, false, {1}, "paused 1", {1}},
        {resuming, 1, true, {1}, "running 1", {}},
        {resuming, 1, true, {}, "running 1", {}},
        {resuming, 1, false, {}, "gone", {}},
    };
    lab.node.start();
    EXPECT_TRUE(co_await lab.start_api());
    co_await lab.stop_api();
    co_await lab.node.stop();
    {
      auto store = store_of(lab);
      for (size_t i = 0; i < kCrashes.size(); ++i) {
        const Crash& crash = kCrashes[i];
        store::SandboxRecord record;
        record.id = "icrash" + std::to_string(i);
        record.template_name = "base";
        record.state = crash.state;
        record.started_ms = to_unix_ms(WallClock::now()) - 1000;
        record.ends_ms = record.started_ms + 600'000;
        record.pauses = crash.pauses;
        record.vcpus = 1;
        record.memory_mib = 256;
        record.isolation = "emulated";
        EXPECT_TRUE(store->add_sandbox(record));
        json::object sizes = {{"tenant", "default"}, {"memory_mib", 256}, {"vcpus", 1}};
        if (crash.box) {
          json::object box = sizes;
          box["box"] = record.id;
          box["template"] = "base";
          box["disk_mib"] = 4096;
          box["isolation"] = "emulated";
          box["started_ms"] = record.started_ms;
          box["ends_ms"] = record.ends_ms;
          lab.node.boxes[record.id] = box;
        }
        for (int number : crash.checkpoints) {
          std::string name = api::pause_checkpoint(record.id, number);
          json::object kept = sizes;
          kept["checkpoint"] = name;
          kept["memory"] = true;
          kept["created_ms"] = record.started_ms;
          lab.node.checkpoints[name] = kept;
        }
      }
      json::object stray = {{"checkpoint", "p-inobody-1"}, {"tenant", "default"},
                            {"memory", true}, {"created_ms", 1}};
      lab.node.checkpoints["p-inobody-1"] = stray;
      stray["checkpoint"] = "s-nobody";
      lab.node.checkpoints["s-nobody"] = stray;
    }
    lab.node.calls.clear();
    co_await lab.start();
    for (size_t i = 0; i < kCrashes.size(); ++i) {
      const Crash& crash = kCrashes[i];
      std::string id = "icrash" + std::to_string(i);
      auto record = record_of(lab, id);
      std::string became = "gone";
      if (record) {
        became = std::string(to_string(record->state)) + " " + std::to_string(record->pauses);
      }
      EXPECT_EQ(became, crash.becomes) << i;
      std::vector<int> left;
      for (int number = 1; number < 5; ++number) {
        if (lab.node.checkpoints.count(api::pause_checkpoint(id, number))) left.push_back(number);
      }
      EXPECT_EQ(left, crash.left) << i;
      if (became.starts_with("paused")) expect_reply(co_await connect(lab, id), 201);
      bool runs = became != "gone";
      EXPECT_EQ(lab.node.boxes.count(id), runs ? 1u : 0u) << i;
    }
    EXPECT_EQ(lab.node.checkpoints.count("p-inobody-1"), 0u);
    EXPECT_EQ(lab.node.checkpoints.count("s-nobody"), 0u);
  });
}

TEST_F(ApiPauseCrashTest, ANodeThatCannotListLosesNobodysState) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "checkpoint.list") answer = Error(ErrorCode::internal, "cannot read the disk");
      return answer;
    };
    co_await lab.node.stop();
    size_t asked = count_calls(lab, "checkpoint.list");
    lab.node.start();
    std::function<bool()> listed = [&lab, asked] {
      return count_calls(lab, "checkpoint.list") > asked;
    };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(listed)));
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    EXPECT_EQ(lab.node.checkpoints.size(), 1u);
  });
}

TEST_F(ApiPauseCrashTest, OneThatIsDeletedWhileTheNodeIsAwayLeavesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    co_await lab.node.stop();
    expect_reply(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 204);
    EXPECT_EQ(lab.node.checkpoints.size(), 1u);
    lab.node.start();
    std::function<bool()> clean = [&lab] { return lab.node.checkpoints.empty(); };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(clean)));
  });
}

TEST_F(ApiPauseCrashTest, OneThatIsDeletedWhileItIsPausedOrResumedLeavesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    auto store = store_of(lab);
    lab.node.before = [&store](const std::string& method, const json::object& body) {
      // As by another call in between.
      if (method == "box.checkpoint") (void)store->remove_sandbox(member(body, "box"));
      return std::optional<FakeNode::Answer>();
    };
    expect_reply(co_await pause(lab, id), 404);
    EXPECT_TRUE(lab.node.checkpoints.empty());
    lab.node.before = nullptr;
    id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    lab.node.created = [&store, id] { (void)store->remove_sandbox(id); };
    expect_reply(co_await connect(lab, id), 404);
    EXPECT_TRUE(lab.node.checkpoints.empty());
    EXPECT_TRUE(lab.node.boxes.empty());
  });
}

}  // namespace
}  // namespace hako::test
