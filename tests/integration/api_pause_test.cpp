// Pausing sandboxes and going on with them, as the API's clients see it, and what a crash leaves.
#include <algorithm>

#include "api/checkpoints.h"
#include "base/clock.h"
#include "policy/egress.h"
#include "rpc/peer.h"
#include "support/api_pausing.h"

namespace hako::test {
namespace {

using http::Verb;
using store::SandboxState;
using namespace std::chrono_literals;

using ApiPauseTest = ApiPausing;

Task<Reply> pause(ApiLab& lab, std::string id, std::string body = {}) {
  return lab.ask(Verb::post, "/sandboxes/" + id + "/pause", body);
}

Task<Reply> connect(ApiLab& lab, std::string id, std::string body = R"({"timeout":60})") {
  return lab.ask(Verb::post, "/v2/sandboxes/" + id + "/connect", body);
}

Task<std::string> state_of(ApiLab& lab, std::string id) {
  auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
  if (detail.status != 200) co_return "status " + std::to_string(detail.status);
  co_return member(detail.body, "state");
}

TEST_F(ApiPauseTest, ASandboxIsPausedAndGoesOnByTheSameHandle) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
    std::string id = member(made.body, "sandboxID");
    json::object first = lab.node.last_create;
    expect_reply(co_await pause(lab, id), 204);
    EXPECT_TRUE(lab.node.boxes.empty());
    std::string name = "p-" + id + "-1";
    EXPECT_EQ(lab.node.checkpoints.count(name), 1u);
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    expect_reply(co_await pause(lab, id), 409, "is paused");
    // It lives for as long as it likes: its end is when it was paused.
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_LE(from_rfc3339(member(detail.body, "endAt")), WallClock::now());

    auto connected = co_await connect(lab, id);
    expect_reply(connected, 201);
    EXPECT_EQ(connected.body.at("envdAccessToken"), made.body.at("envdAccessToken"));
    const json::object& second = lab.node.last_create;
    EXPECT_EQ(second.at("checkpoint"), json::value(name));
    for (const char* absent : {"template", "memory_mib", "vcpus", "envs"}) {
      EXPECT_FALSE(second.contains(absent)) << absent;
    }
    for (const char* same : {"access_token", "ingress", "egress", "tenant"}) {
      EXPECT_EQ(second.at(same), first.at(same)) << same;
    }
    EXPECT_EQ(co_await state_of(lab, id), "running");
    EXPECT_TRUE(lab.node.checkpoints.empty());
    expect_reply(co_await connect(lab, id), 200);
    // The next time has a checkpoint of its own.
    expect_reply(co_await pause(lab, id), 204);
    EXPECT_EQ(lab.node.checkpoints.count("p-" + id + "-2"), 1u);
    expect_reply(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 204);
    EXPECT_TRUE(lab.node.checkpoints.empty());
    expect_reply(co_await connect(lab, id), 404);
  });
}

TEST_F(ApiPauseTest, ListsShowBothUnlessOneIsAskedFor) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string running = co_await lab.create();
    std::string paused = co_await lab.create();
    expect_reply(co_await pause(lab, paused), 204);
    auto ids = [](const Reply& reply) {
      std::vector<std::string> all;
      for (const json::value& each : reply.body.as_array()) all.push_back(member(each, "sandboxID"));
      std::sort(all.begin(), all.end());
      return all;
    };
    std::vector<std::string> both{running, paused};
    std::sort(both.begin(), both.end());
    auto all = co_await lab.ask(Verb::get, "/v2/sandboxes");
    EXPECT_EQ(ids(all), both);
    EXPECT_EQ(all.fields["X-Total-Running"], "1");
    auto asleep = co_await lab.ask(Verb::get, "/v2/sandboxes?state=paused");
    EXPECT_EQ(ids(asleep), std::vector<std::string>{paused});
    EXPECT_EQ(asleep.body.as_array()[0].at("state"), "paused");
    EXPECT_EQ(asleep.fields.count("X-Total-Running"), 0u);
    auto awake = co_await lab.ask(Verb::get, "/v2/sandboxes?state=running");
    EXPECT_EQ(ids(awake), std::vector<std::string>{running});
    auto old = co_await lab.ask(Verb::get, "/sandboxes");
    EXPECT_EQ(ids(old), std::vector<std::string>{running});
  });
}

TEST_F(ApiPauseTest, WhatNeedsAMachineIsRefusedAndTheRestAnswers) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(), other = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    std::string path = "/sandboxes/" + id;
    expect_reply(co_await lab.ask(Verb::post, path + "/timeout", R"({"timeout":60})"), 409,
                 "is paused");
    expect_reply(co_await lab.ask(Verb::post, path + "/refreshes", "{}"), 409, "is paused");
    expect_reply(co_await lab.ask(Verb::put, path + "/network", "{}"), 409, "is paused");
    expect_reply(co_await lab.ask(Verb::post, path + "/fork", "{}"), 409, "is paused");
    expect_reply(co_await lab.ask(Verb::post, path + "/snapshots", "{}"), 409, "is paused");
    expect_reply(co_await lab.ask(Verb::post, "/v1" + path + "/label", R"({"label":"internal"})"),
                 409, "is paused");
    std::string link = R"({"from":")" + other + R"(","to":")" + id + R"(","port":80})";
    expect_reply(co_await lab.ask(Verb::post, "/v1/links", link), 409, "is paused");
    auto metrics = co_await lab.ask(Verb::get, path + "/metrics");
    expect_reply(metrics, 200);
    expect_reply(co_await lab.ask(Verb::get, path + "/logs"), 200);
    expect_reply(co_await lab.ask(Verb::get, "/sandboxes/metrics?sandbox_ids=" + id), 200);
    expect_reply(co_await connect(lab, id, R"({"timeout":60,"memory":false})"), 501, "memory");
    expect_reply(co_await connect(lab, id, R"({"timeout":0})"), 400, "timeout");
    expect_reply(co_await lab.ask(Verb::post, path + "/resume", R"({"timeout":0})"), 400, "timeout");
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    expect_reply(co_await lab.ask(Verb::post, path + "/resume", "{}"), 201);
    int64_t left = lab.node.boxes[id].at("ends_ms").as_int64() - to_unix_ms(WallClock::now());
    EXPECT_LE(left, 15'000);
    expect_reply(co_await lab.ask(Verb::post, path + "/resume", "{}"), 409, "already running");
  });
}

TEST_F(ApiPauseTest, WithoutItsMemoryItMayBeResumedThatWay) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id, R"({"memory":false})"), 204);
    EXPECT_EQ(lab.node.checkpoints["p-" + id + "-1"].at("memory"), false);
    expect_reply(co_await connect(lab, id, R"({"timeout":60,"memory":false})"), 201);
  });
}

TEST_F(ApiPauseTest, APauseThatFailsLeavesItRunning) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    struct Failure {
      ErrorCode code;
      unsigned status;
    };
    for (Failure failure : {Failure{ErrorCode::no_space, 503},
                            Failure{ErrorCode::failed_precondition, 409},
                            Failure{ErrorCode::internal, 500}}) {
      lab.node.before = [failure](const std::string& method, const json::object&) {
        std::optional<FakeNode::Answer> answer;
        if (method == "box.checkpoint") answer = Error(failure.code, "no");
        return answer;
      };
      expect_reply(co_await pause(lab, id), failure.status);
      EXPECT_EQ(co_await state_of(lab, id), "running");
    }
    lab.node.before = nullptr;
    expect_reply(co_await pause(lab, id), 204);
  });
}

TEST_F(ApiPauseTest, APauseWhoseAnswerIsLostIsWhatTheNodeMadeOfIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string done = co_await lab.create(), undone = co_await lab.create();
    lab.node.before = [&lab, done](const std::string& method, const json::object& body) {
      std::optional<FakeNode::Answer> answer;
      if (method != "box.checkpoint") return answer;
      if (member(body, "box") == done) {
        json::object kept = {{"checkpoint", body.at("checkpoint")}, {"tenant", "default"},
                             {"memory", true}, {"created_ms", to_unix_ms(WallClock::now())},
                             {"memory_mib", 256}, {"vcpus", 1}};
        lab.node.checkpoints[member(body, "checkpoint")] = kept;
        lab.node.boxes.erase(done);
      }
      answer = Error(ErrorCode::timed_out, "no answer");
      return answer;
    };
    expect_reply(co_await pause(lab, done), 504);
    EXPECT_EQ(co_await state_of(lab, done), "paused");
    expect_reply(co_await pause(lab, undone), 504);
    EXPECT_EQ(co_await state_of(lab, undone), "running");
    lab.node.before = nullptr;
    expect_reply(co_await connect(lab, done), 201);
  });
}

TEST_F(ApiPauseTest, AResumeThatFailsLeavesItPaused) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    std::string name = "p-" + id + "-1";
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.create") answer = Error(ErrorCode::resource_exhausted, "no slot");
      return answer;
    };
    expect_reply(co_await connect(lab, id), 429, "no slot");
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.create") answer = Error(ErrorCode::timed_out, "no answer");
      return answer;
    };
    expect_reply(co_await connect(lab, id), 504);
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    lab.node.before = nullptr;
    lab.node.damaged.insert(name);
    expect_reply(co_await connect(lab, id), 500, "damaged");
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    EXPECT_EQ(lab.node.checkpoints.count(name), 1u);
    lab.node.damaged.clear();
    expect_reply(co_await connect(lab, id), 201);
  });
}

TEST_F(ApiPauseTest, AResumeWhoseAnswerIsLostRunsIfTheNodeSaysSo) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    json::object box = lab.node.boxes[id];
    expect_reply(co_await pause(lab, id), 204);
    lab.node.before = [&lab, id, box](const std::string& method, const json::object& body) {
      std::optional<FakeNode::Answer> answer;
      if (method != "box.create") return answer;
      json::object made = box;
      made["ends_ms"] = body.at("ends_ms");
      lab.node.boxes[id] = made;
      answer = Error(ErrorCode::timed_out, "no answer");
      return answer;
    };
    expect_reply(co_await connect(lab, id), 504);
    EXPECT_EQ(co_await state_of(lab, id), "running");
    expect_reply(co_await connect(lab, id), 200);
  });
}

TEST_F(ApiPauseTest, WhatDiesWhileItIsResumedIsPausedStill) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    // Told before the answer goes out, and read before or after it.
    lab.node.created = [&lab, id] { lab.node.tell_gone(id, "died"); };
    auto reply = co_await connect(lab, id);
    if (reply.status == 201) {
      EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/" + id, 404));
      co_return;
    }
    expect_reply(reply, 503, "ended while it was resumed");
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    lab.node.created = nullptr;
    expect_reply(co_await connect(lab, id), 201);
  });
}

TEST_F(ApiPauseTest, APausedOneWhoseStateHasGoneIsNoMore) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    lab.node.checkpoints.clear();
    expect_reply(co_await connect(lab, id), 404);
    EXPECT_FALSE(record_of(lab, id));
  });
}

TEST_F(ApiPauseTest, ManyWhoConnectAtOnceShareOneResume) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    size_t before = count_calls(lab, "box.create");
    lab.node.create_takes = 100ms;
    TaskGroup tasks(lab.loop.get_executor());
    auto statuses = std::make_shared<std::vector<unsigned>>();
    auto one = [](ApiLab& lab, std::string id,
                  std::shared_ptr<std::vector<unsigned>> statuses) -> Task<void> {
      auto reply = co_await connect(lab, id);
      statuses->push_back(reply.status);
    };
    for (int i = 0; i < 8; ++i) tasks.spawn("connect", one(lab, id, statuses));
    std::function<bool()> all = [statuses] { return statuses->size() == 8; };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(all)));
    co_await tasks.stop();
    for (unsigned status : *statuses) EXPECT_TRUE(status == 200 || status == 201) << status;
    EXPECT_EQ(count_calls(lab, "box.create"), before + 1);
  });
}

TEST_F(ApiPauseTest, AtItsEndItIsPausedIfItIsToBe) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string ends = co_await lab.create();
    EXPECT_FALSE(lab.node.last_create.contains("on_end"));
    std::string id = co_await lab.create(R"({"templateID":"base","timeout":60,"autoPause":true})");
    json::value on_end = {{"then", "pause"}, {"memory", true}, {"checkpoint", "p-" + id + "-1"}};
    EXPECT_EQ(lab.node.last_create.at("on_end"), on_end);
    // Who moves its end says so again.
    expect_reply(co_await lab.ask(Verb::post, "/sandboxes/" + id + "/timeout", R"({"timeout":9})"),
                 204);
    EXPECT_EQ(lab.node.boxes[id].at("on_end"), on_end);
    lab.node.expire(ends);
    lab.node.expire(id);
    EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/" + ends, 404));
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    expect_reply(co_await connect(lab, id), 201);
    EXPECT_EQ(lab.node.last_create.at("on_end").at("checkpoint"), json::value("p-" + id + "-2"));
    std::string files =
        co_await lab.create(R"({"templateID":"base","autoPause":true,"autoPauseMemory":false})");
    EXPECT_EQ(lab.node.last_create.at("on_end").at("memory"), false);
    lab.node.expire(files);
    std::function<bool()> paused = [&lab, files] {
      return record_of(lab, files)->state == SandboxState::paused;
    };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(paused)));
    EXPECT_FALSE(record_of(lab, files)->with_memory);
  });
}

TEST_F(ApiPauseTest, ItsEndMayComeBeforeAnybodyHasHeardOfIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    // The node has paused it, and its word of that is on its way.
    std::string body = R"({"templateID":"base","timeout":600,"autoPause":true})";
    for (const char* action : {"connect", "timeout", "network", "pause"}) {
      std::string id = co_await lab.create(body);
      json::object ended = lab.node.boxes[id];
      json::object kept = {{"checkpoint", "p-" + id + "-1"}, {"tenant", "default"},
                           {"memory", true}, {"memory_mib", 256}, {"vcpus", 1},
                           {"created_ms", to_unix_ms(WallClock::now())}};
      lab.node.checkpoints["p-" + id + "-1"] = kept;
      lab.node.boxes.erase(id);
      std::string what = action;
      if (what == "connect") {
        expect_reply(co_await connect(lab, id, R"({"timeout":900})"), 201);
        continue;
      }
      Verb verb = what == "network" ? Verb::put : Verb::post;
      auto reply = co_await lab.ask(verb, "/sandboxes/" + id + "/" + what,
                                    what == "timeout" ? R"({"timeout":60})" : "{}");
      // New rules go into the record, which is what it goes on with.
      EXPECT_EQ(reply.status, what == "network" ? 204u : 409u) << what << reply.message();
      EXPECT_EQ(co_await state_of(lab, id), "paused") << what;
    }
  });
}

/// What was written when the API ended, what the node has, and what must come of it.
struct Crash {
  SandboxState state;
  int pauses;
  bool box;
  std::vector<int> checkpoints;  ///< numbers of those that the node keeps
  const char* becomes;           ///< "running 0", "paused 1", "gone"
  std::vector<int> left;         ///< numbers of those that are there at the end
};

TEST_F(ApiPauseTest, WhateverACrashComesInBetweenOfIsSettled) {
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

TEST_F(ApiPauseTest, ANodeThatCannotListLosesNobodysState) {
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

TEST_F(ApiPauseTest, OneThatIsDeletedWhileTheNodeIsAwayLeavesNothing) {
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

TEST_F(ApiPauseTest, OneThatIsDeletedWhileItIsPausedOrResumedLeavesNothing) {
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

TEST_F(ApiPauseTest, APausedOneMakesRoomAndNeedsItAgain) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kacme", "acme", "owner");
    put_quota(lab, "acme", R"({"boxes":1,"diskMB":8192})");
    auto make = [&lab, key] {
      return lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", key);
    };
    auto first = co_await make();
    expect_reply(first, 201);
    std::string id = member(first.body, "sandboxID");
    expect_reply(co_await make(), 429, "quota.boxes");
    auto paused = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", key);
    expect_reply(paused, 204);
    auto second = co_await make();
    expect_reply(second, 201);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", key), 429, "quota.boxes");
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    std::string other = member(second.body, "sandboxID");
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + other + "/pause", "", key),
                 204);
    // The disks of both are taken all the time.
    expect_reply(co_await make(), 429, "quota.disk");
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", key), 201);
  });
}

TEST_F(ApiPauseTest, WhatAKeyMayHaveCountsPausedOnes) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kone", "acme", "member", R"({"boxes":1})");
    auto make = [&lab, key] {
      return lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", key);
    };
    auto first = co_await make();
    std::string id = member(first.body, "sandboxID");
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", key), 204);
    expect_reply(co_await make(), 429, "key kone.boxes");
    expect_reply(
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes/" + id + "/connect", "{}", key), 201);
  });
}

TEST_F(ApiPauseTest, AKeyThatIsTakenAwayResumesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string maker = put_key(lab, "kmaker", "acme", "member");
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made =
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", maker);
    std::string id = member(made.body, "sandboxID");
    json::value token = made.body.at("envdAccessToken");
    EXPECT_TRUE(takes(lab.node.egress[id].at("ingress").as_object(), token, "sandbox.exec"));
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", maker),
                 204);
    expect_reply(co_await lab.ask_with_key(Verb::delete_, "/v1/keys/kmaker", "", owner), 204);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", maker), 401);
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", owner), 201);
    // And its token opens nothing in what goes on.
    EXPECT_FALSE(takes(lab.node.egress[id].at("ingress").as_object(), token, "sandbox.exec"));
  });
}

TEST_F(ApiPauseTest, WhoMayOnlyLookResumesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    std::string viewer = put_key(lab, "kviewer", "acme", "viewer");
    std::string low = put_key(lab, "klow", "acme", "owner", "", "public");
    auto made = co_await lab.ask_with_key(
        Verb::post, "/v2/sandboxes", R"({"templateID":"base","label":"confidential"})", owner);
    std::string id = member(made.body, "sandboxID");
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", owner),
                 204);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", viewer), 403, "actions");
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", low), 404);
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", owner), 201);
    auto policy = lab.node.policy_of(id);
    EXPECT_EQ(record_of(lab, id)->label, "confidential");
    bool closed = std::any_of(policy.layers.begin(), policy.layers.end(), [](const auto& layer) {
      return layer.level == policy::EgressLevel::none;
    });
    EXPECT_TRUE(closed);
  });
}

TEST_F(ApiPauseTest, ItGoesOnUnderTheRulesOfToday) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                          R"({"templateID":"base"})", owner);
    std::string id = member(made.body, "sandboxID");
    auto closed = [&lab, id] {
      for (const auto& layer : lab.node.policy_of(id).layers) {
        if (layer.name == "tenant acme" && layer.level == policy::EgressLevel::none) return true;
      }
      return false;
    };
    EXPECT_FALSE(closed());
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", owner),
                 204);
    expect_reply(co_await lab.ask(Verb::patch, "/v1/tenants/acme",
                                  R"({"policy":{"egress":{"level":"none"}}})"),
                 200);
    expect_reply(
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes/" + id + "/connect", "{}", owner), 201);
    EXPECT_TRUE(closed());
  });
}

TEST_F(ApiPauseTest, RulesThatChangeWhileItIsResumedHold) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    lab.node.created = [&lab, id] {
      auto store = store_of(lab);
      auto record = store->find_sandbox(id).value();
      store::SandboxEgress changed{record->label, record->options, record->egress,
                                   record->traffic_token, "[]"};
      EXPECT_TRUE(store->set_egress(id, changed));
    };
    size_t told = count_calls(lab, "box.egress");
    expect_reply(co_await connect(lab, id), 201);
    // Once for what has changed, and once for whoever has connected.
    EXPECT_EQ(count_calls(lab, "box.egress"), told + 2);
  });
}

TEST_F(ApiPauseTest, ALifeThatIsLimitedIsNoLongerForHavingBeenPaused) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kshort", "acme", "member", R"({"timeout":100})");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                          R"({"templateID":"base","timeout":100})", key);
    expect_reply(made, 201);
    std::string id = member(made.body, "sandboxID");
    int64_t latest = record_of(lab, id)->started_ms + 100'000;
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", key), 204);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, R"({"timeout":100})", key), 201);
    EXPECT_LE(lab.node.boxes[id].at("ends_ms").as_int64(), latest);
  });
}

/// A gate, as far as it has to do with boxes that sleep.
class FakeGate {
 public:
  explicit FakeGate(ApiLab& lab) : lab_(lab), tasks_(lab.loop.get_executor()) {}
  Task<void> connect() {
    auto connection = co_await rpc::connect_unix(lab_.config.wake_socket());
    if (!connection) throw std::runtime_error(connection.error().message());
    peer_ = std::make_shared<rpc::Peer>(lab_.loop.get_executor(), std::move(connection.value()));
    rpc::Handler on_add = [this](rpc::Payload payload) { return add(std::move(payload)); };
    rpc::Handler on_remove = [this](rpc::Payload payload) { return remove(std::move(payload)); };
    peer_->on("sleeper.add", std::move(on_add));
    peer_->on("sleeper.remove", std::move(on_remove));
    tasks_.spawn("gate", peer_->run());
  }
  Task<Result<void>> wake(std::string box) {
    rpc::Payload payload;
    payload.body["box"] = box;
    auto answer = co_await peer_->call("box.wake", std::move(payload), 10s);
    if (!answer) co_return answer.error();
    co_return ok();
  }
  Task<bool> knows(std::string box, bool wanted) {
    std::function<bool()> does = [this, box, wanted] { return sleepers.contains(box) == wanted; };
    return ApiLab::eventually(std::move(does));
  }
  Task<void> stop() { co_await tasks_.stop(); }

  std::map<std::string, json::object> sleepers;

 private:
  Task<Result<rpc::Payload>> add(rpc::Payload payload) {
    sleepers[member(payload.body, "box")] = payload.body;
    co_return rpc::Payload();
  }
  Task<Result<rpc::Payload>> remove(rpc::Payload payload) {
    sleepers.erase(member(payload.body, "box"));
    co_return rpc::Payload();
  }

  ApiLab& lab_;
  TaskGroup tasks_;
  std::shared_ptr<rpc::Peer> peer_;
};

constexpr const char* kWakes =
    R"({"templateID":"base","timeout":60,"autoPause":true,"autoResume":{"enabled":true}})";

TEST_F(ApiPauseTest, TrafficBringsBackWhatIsToComeBack) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", kWakes);
    std::string id = member(made.body, "sandboxID");
    std::string plain = co_await lab.create();
    FakeGate gate(lab);
    co_await gate.connect();
    lab.node.expire(id);
    EXPECT_TRUE(co_await gate.knows(id, true));
    EXPECT_TRUE(takes(gate.sleepers[id].at("ingress").as_object(),
                      made.body.at("envdAccessToken"), "sandbox.exec"));
    expect_reply(co_await pause(lab, plain), 204);
    auto of_plain = co_await gate.wake(plain);
    EXPECT_FALSE(of_plain.has_value());
    auto of_nobody = co_await gate.wake("inobody");
    EXPECT_FALSE(of_nobody.has_value());
    EXPECT_EQ(co_await state_of(lab, plain), "paused");

    auto woken = co_await gate.wake(id);
    EXPECT_TRUE(woken.has_value());
    EXPECT_EQ(co_await state_of(lab, id), "running");
    int64_t left = lab.node.boxes[id].at("ends_ms").as_int64() - to_unix_ms(WallClock::now());
    EXPECT_GT(left, 250'000);  // five minutes, though it was made for one
    EXPECT_TRUE(co_await gate.knows(id, false));
    // One that comes later hears of what sleeps then.
    lab.node.expire(id);
    FakeGate late(lab);
    co_await late.connect();
    EXPECT_TRUE(co_await late.knows(id, true));
    EXPECT_FALSE(late.sleepers.contains(plain));
    expect_reply(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 204);
    EXPECT_TRUE(co_await late.knows(id, false));
    co_await late.stop();
    co_await gate.stop();
  });
}

TEST_F(ApiPauseTest, WhatSleepsWithoutItsMemoryIsNotWoken) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(kWakes);
    FakeGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await pause(lab, id, R"({"memory":false})"), 204);
    auto woken = co_await gate.wake(id);
    EXPECT_FALSE(woken.has_value());
    EXPECT_TRUE(gate.sleepers.empty());
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    co_await gate.stop();
  });
}

TEST_F(ApiPauseTest, NobodyIsWokenInATenantThatIsSuspendedOrFull) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kWakes, owner);
    std::string id = member(made.body, "sandboxID");
    FakeGate gate(lab);
    co_await gate.connect();
    lab.node.expire(id);
    EXPECT_TRUE(co_await gate.knows(id, true));
    put_quota(lab, "acme", R"({"boxes":0})");
    auto full = co_await gate.wake(id);
    EXPECT_FALSE(full.has_value());
    if (!full) {
      EXPECT_EQ(full.error().code(), ErrorCode::resource_exhausted);
    }
    put_quota(lab, "acme", "");
    expect_reply(co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"suspended":true})"), 200);
    auto suspended = co_await gate.wake(id);
    EXPECT_FALSE(suspended.has_value());
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    expect_reply(co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"suspended":false})"), 200);
    auto woken = co_await gate.wake(id);
    EXPECT_TRUE(woken.has_value());
    co_await gate.stop();
  });
}

TEST_F(ApiPauseTest, AGateHearsWhenAKeyOfASleeperIsTakenAway) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string maker = put_key(lab, "kmaker", "acme", "member");
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kWakes, maker);
    std::string id = member(made.body, "sandboxID");
    json::value token = made.body.at("envdAccessToken");
    FakeGate gate(lab);
    co_await gate.connect();
    lab.node.expire(id);
    EXPECT_TRUE(co_await gate.knows(id, true));
    EXPECT_TRUE(takes(gate.sleepers[id].at("ingress").as_object(), token, "sandbox.exec"));
    expect_reply(co_await lab.ask_with_key(Verb::delete_, "/v1/keys/kmaker", "", owner), 204);
    std::function<bool()> dropped = [&gate, id, token] {
      return !takes(gate.sleepers[id].at("ingress").as_object(), token, "sandbox.exec");
    };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(dropped)));
    co_await gate.stop();
  });
}

TEST_F(ApiPauseTest, ARequestAtTheApisOwnPortWakesToo) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", kWakes);
    std::string id = member(made.body, "sandboxID");
    lab.node.expire(id);
    std::function<bool()> asleep = [&lab, id] {
      return record_of(lab, id)->state == SandboxState::paused;
    };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(asleep)));
    auto knock = [&lab, id](std::string name, std::string value) -> Task<void> {
      auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
      http::Client client(std::move(stream.value()));
      http::Request request;
      request.method = Verb::get;
      request.target = "/files?path=a";
      request.fields.set(http::Field::host, "127.0.0.1");
      request.fields.set("E2b-Sandbox-Id", id);
      if (!name.empty()) request.fields.set(name, value);
      // There is no gate behind it: what comes back is that.
      (void)co_await client.exchange(std::move(request));
    };
    co_await knock("", "");
    co_await knock("X-Access-Token", "wrong");
    co_await knock("X-API-KEY", "e2b_" + std::string(40, '0'));
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    co_await knock("X-Access-Token", member(made.body, "envdAccessToken"));
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::running);
    expect_reply(co_await pause(lab, id), 204);
    co_await knock("X-API-KEY", lab.key);
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::running);
  });
}

TEST_F(ApiPauseTest, WithANodeThatKeepsNothingAllIsAsItWas) {
  without_api([](ApiLab& lab) -> Task<void> {
    lab.node.keeps_checkpoints = false;
    co_await lab.start();
    std::string id = co_await lab.create();
    auto refused = co_await pause(lab, id);
    EXPECT_GE(refused.status, 500u);
    EXPECT_EQ(co_await state_of(lab, id), "running");
    lab.node.tell_gone(id, "died");
    EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/" + id, 404));
  });
}

}  // namespace
}  // namespace hako::test
