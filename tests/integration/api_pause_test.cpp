// Pausing sandboxes and going on with them, as the API's clients see it, and what a crash leaves.
#include <algorithm>

#include "base/clock.h"
#include "support/api_pausing.h"

namespace hako::test {
namespace {

using http::Verb;
using store::SandboxState;
using namespace std::chrono_literals;

using ApiPauseTest = ApiFixture;

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
