// Forks, snapshots and going back to one, as the API's clients see it.
#include <algorithm>

#include "base/clock.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using store::SandboxState;
using namespace std::chrono_literals;

using ApiCopiesTest = ApiFixture;

Task<Reply> fork(ApiLab& lab, std::string id, std::string body = "{}") {
  return lab.ask(Verb::post, "/sandboxes/" + id + "/fork", body);
}

Task<Reply> snapshot(ApiLab& lab, std::string id, std::string body = "{}") {
  return lab.ask(Verb::post, "/sandboxes/" + id + "/snapshots", body);
}

Task<Reply> roll_back(ApiLab& lab, std::string id, std::string to) {
  return lab.ask(Verb::post, "/v1/sandboxes/" + id + "/rollback",
                 R"({"snapshotID":")" + to + "\"}");
}

TEST_F(ApiCopiesTest, ChildrenAreSandboxesOfTheirOwn) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(
        Verb::post, "/v2/sandboxes",
        R"({"templateID":"base","label":"internal","metadata":{"a":"b"},"autoPause":true})");
    std::string id = member(made.body, "sandboxID");
    json::object parent = lab.node.egress[id];
    auto forked = co_await fork(lab, id, R"({"count":3,"timeout":60})");
    expect_reply(forked, 201);
    std::set<std::string> ids{id}, tokens{member(made.body, "envdAccessToken")}, inside;
    inside.insert(member(parent, "access_token"));
    for (const json::value& each : forked.body.as_array()) {
      const json::value& child = each.at("sandbox");
      std::string its_id = member(child, "sandboxID");
      ids.insert(its_id);
      tokens.insert(member(child, "envdAccessToken"));
      const json::object& told = lab.node.egress[its_id];
      inside.insert(member(told, "access_token"));
      EXPECT_EQ(told.at("egress"), parent.at("egress"));
      EXPECT_EQ(told.at("on_end").at("checkpoint"), json::value("p-" + its_id + "-1"));
      EXPECT_FALSE(told.contains("envs"));
      EXPECT_TRUE(takes(told.at("ingress").as_object(), child.at("envdAccessToken"), "sandbox.exec"));
      EXPECT_FALSE(takes(told.at("ingress").as_object(), made.body.at("envdAccessToken"),
                         "sandbox.exec"));
      auto record = record_of(lab, its_id);
      EXPECT_EQ(record->label, "internal");
      EXPECT_EQ(record->metadata, R"({"a":"b"})");
      EXPECT_EQ(record->state, SandboxState::running);
      int64_t left = record->ends_ms - to_unix_ms(WallClock::now());
      EXPECT_LE(left, 60'000);
      expect_reply(co_await lab.ask(Verb::get, "/sandboxes/" + its_id), 200);
    }
    EXPECT_EQ(ids.size(), 4u);
    EXPECT_EQ(tokens.size(), 4u);
    EXPECT_EQ(inside.size(), 4u);
    expect_reply(co_await fork(lab, "inone"), 404);
    expect_reply(co_await fork(lab, id, R"({"count":0})"), 400, "count");
    expect_reply(co_await fork(lab, id, R"({"count":101})"), 400, "count");
    // A child of a child is as good as any.
    std::string child = member(forked.body.as_array()[0].at("sandbox"), "sandboxID");
    expect_reply(co_await fork(lab, child), 201);
  });
}

TEST_F(ApiCopiesTest, EachChildIsAdmittedAsACreate) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kacme", "acme", "owner");
    put_quota(lab, "acme", R"({"boxes":3})");
    auto made =
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", key);
    std::string id = member(made.body, "sandboxID");
    auto forked = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/fork",
                                            R"({"count":4})", key);
    expect_reply(forked, 201);
    const json::array& entries = forked.body.as_array();
    EXPECT_EQ(entries.size(), 4u);
    for (size_t i = 0; i < entries.size(); ++i) {
      const json::object& entry = entries[i].as_object();
      EXPECT_EQ(entry.contains("sandbox"), i < 2) << i;
      EXPECT_EQ(entry.contains("error"), i >= 2) << i;
      if (i >= 2) {
        EXPECT_EQ(entry.at("error").at("code"), json::value(429));
      }
    }
    EXPECT_EQ(lab.node.boxes.size(), 3u);
    auto none = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/fork", "{}", key);
    expect_reply(none, 201);
    EXPECT_TRUE(none.body.as_array()[0].as_object().contains("error"));
    // As often as it may create in a minute, and no more often.
    put_quota(lab, "acme", R"({"createsPerMinute":2})");
    auto fast = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/fork",
                                          R"({"count":5})", key);
    size_t failed = 0;
    for (const json::value& each : fast.body.as_array()) {
      failed += each.as_object().contains("error");
    }
    EXPECT_EQ(failed, 3u);
  });
}

TEST_F(ApiCopiesTest, WhoMayMakeNoneForksNone) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    std::string viewer = put_key(lab, "kviewer", "acme", "viewer");
    std::string foreign = put_key(lab, "kother", "other", "owner");
    std::string small = put_key(lab, "ksmall", "acme", "member", R"({"memoryMB":128})");
    auto made =
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", owner);
    std::string path = "/sandboxes/" + member(made.body, "sandboxID") + "/fork";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", viewer), 403, "actions");
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", foreign), 404);
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", small), 403, "memory");
    EXPECT_EQ(lab.node.boxes.size(), 1u);
  });
}

TEST_F(ApiCopiesTest, AChildHasNoMoreWaysOutThanItsParent) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string closed = put_key(lab, "kclosed", "acme", "member", R"({"egress":{"level":"none"}})");
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made =
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", closed);
    std::string id = member(made.body, "sandboxID");
    auto is_closed = [&lab](const std::string& box) {
      for (const auto& layer : lab.node.policy_of(box).layers) {
        if (layer.name == "key kclosed" && layer.level == policy::EgressLevel::none) return true;
      }
      return false;
    };
    EXPECT_TRUE(is_closed(id));
    auto forked = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/fork", "{}", owner);
    EXPECT_TRUE(is_closed(member(forked.body.as_array()[0].at("sandbox"), "sandboxID")));
    auto taken =
        co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/snapshots", "{}", owner);
    auto of_it = co_await lab.ask_with_key(
        Verb::post, "/v2/sandboxes",
        R"({"templateID":")" + member(taken.body, "snapshotID") + "\"}", owner);
    EXPECT_TRUE(is_closed(member(of_it.body, "sandboxID")));
  });
}

TEST_F(ApiCopiesTest, ALabelThatRisesMeanwhileLeavesNoChildBelowIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    lab.node.before = [&lab, id](const std::string& method, const json::object&) {
      if (method == "box.fork" || method == "box.checkpoint") {
        auto store = store_of(lab);
        auto record = store->find_sandbox(id).value();
        store::SandboxEgress changed{"confidential", record->options, record->egress,
                                     record->traffic_token, record->grants};
        EXPECT_TRUE(store->set_egress(id, changed));
      }
      return std::optional<FakeNode::Answer>();
    };
    auto forked = co_await fork(lab, id, R"({"count":2})");
    for (const json::value& each : forked.body.as_array()) {
      EXPECT_EQ(each.at("error").at("code"), json::value(503));
    }
    EXPECT_EQ(lab.node.boxes.size(), 1u);
    // A snapshot gets the label that its sandbox has by then.
    std::string other = co_await lab.create();
    auto taken = co_await snapshot(lab, other);
    EXPECT_EQ(member(taken.body, "label"), "public");
    {
      auto store = store_of(lab);
      auto record = store->find_sandbox(id).value();
      store::SandboxEgress low{"public", record->options, record->egress, record->traffic_token,
                               record->grants};
      EXPECT_TRUE(store->set_egress(id, low));
    }
    taken = co_await snapshot(lab, id);
    EXPECT_EQ(member(taken.body, "label"), "confidential");
  });
}

TEST_F(ApiCopiesTest, NothingIsForkedOfABoxThatMayReachLessByThen) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    auto forked = co_await fork(lab, id, R"({"count":1})");
    EXPECT_TRUE(forked.body.at(0).as_object().contains("sandbox"));
    lab.node.before = [&lab, id](const std::string& method, const json::object&) {
      // A label that rises does this first.
      if (method == "box.fork") lab.node.egress[id]["egress"] = json::object{{"layers", "none"}};
      return std::optional<FakeNode::Answer>();
    };
    forked = co_await fork(lab, id, R"({"count":2})");
    expect_reply(forked, 201);
    for (const json::value& each : forked.body.as_array()) {
      EXPECT_TRUE(each.as_object().contains("error"));
    }
    EXPECT_EQ(lab.node.boxes.size(), 2u);
    EXPECT_EQ(store_of(lab)->all_sandboxes().value().size(), 2u);
  });
}

TEST_F(ApiCopiesTest, WhatTheNodeCannotForkLeavesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    for (ErrorCode code : {ErrorCode::resource_exhausted, ErrorCode::timed_out,
                           ErrorCode::internal}) {
      lab.node.before = [code](const std::string& method, const json::object&) {
        std::optional<FakeNode::Answer> answer;
        if (method == "box.fork") answer = Error(code, "no");
        return answer;
      };
      auto forked = co_await fork(lab, id, R"({"count":2})");
      expect_reply(forked, 201);
      for (const json::value& each : forked.body.as_array()) {
        EXPECT_TRUE(each.as_object().contains("error"));
      }
      EXPECT_EQ(store_of(lab)->all_sandboxes().value().size(), 1u);
    }
    lab.node.before = nullptr;
    // Its machine has gone without anybody having said so.
    lab.node.boxes.erase(id);
    expect_reply(co_await fork(lab, id), 404);
    EXPECT_TRUE(store_of(lab)->all_sandboxes().value().empty());
  });
}

TEST_F(ApiCopiesTest, ASnapshotIsATemplateUntilItIsDeleted) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(R"({"templateID":"base","label":"internal"})");
    auto taken = co_await snapshot(lab, id);
    expect_reply(taken, 201);
    std::string name = member(taken.body, "snapshotID");
    EXPECT_TRUE(taken.body.at("names").as_array().empty());
    EXPECT_EQ(lab.node.boxes.count(id), 1u);
    EXPECT_EQ(lab.node.checkpoints.count(name), 1u);
    for (const char* tag : {"", ":default"}) {
      auto made = co_await lab.ask(Verb::post, "/v2/sandboxes",
                                   R"({"templateID":")" + name + tag + R"(","envVars":{"K":"V"}})");
      expect_reply(made, 201);
      EXPECT_EQ(member(made.body, "templateID"), name);
      EXPECT_EQ(lab.node.last_create.at("checkpoint"), json::value(name));
      EXPECT_EQ(lab.node.last_create.at("envs").at("K"), "V");
      EXPECT_EQ(record_of(lab, member(made.body, "sandboxID"))->label, "internal");
    }
    expect_reply(co_await lab.ask(Verb::post, "/v2/sandboxes",
                                  R"({"templateID":")" + name + R"(","memoryMB":512})"),
                 400, "size");
    auto listed = co_await lab.ask(Verb::get, "/snapshots");
    EXPECT_EQ(listed.body.as_array().size(), 1u);
    auto of_box = co_await lab.ask(Verb::get, "/snapshots?sandboxID=" + id);
    EXPECT_EQ(of_box.body.as_array().size(), 1u);
    auto of_other = co_await lab.ask(Verb::get, "/snapshots?sandboxID=iother");
    EXPECT_TRUE(of_other.body.as_array().empty());
    // It outlives its sandbox.
    expect_reply(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 204);
    expect_reply(co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":")" + name + "\"}"),
                 201);
    expect_reply(co_await lab.ask(Verb::delete_, "/templates/" + name + "%3Adefault"), 204);
    EXPECT_TRUE(lab.node.checkpoints.empty());
    expect_reply(co_await lab.ask(Verb::delete_, "/templates/" + name), 404);
    expect_reply(co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":")" + name + "\"}"),
                 404);
  });
}

TEST_F(ApiCopiesTest, NamesMoveToTheNewestAndAreUnique) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    auto first = co_await snapshot(lab, id, R"({"name":"team/work"})");
    expect_reply(first, 201);
    EXPECT_EQ(first.body.at("names").as_array().at(0), "team/work:default");
    auto second = co_await snapshot(lab, id, R"({"name":"team/work"})");
    auto tagged = co_await snapshot(lab, id, R"({"name":"team/work:v2"})");
    auto named = co_await lab.ask(Verb::get, "/snapshots?name=team%2Fwork");
    EXPECT_EQ(named.body.as_array().size(), 2u);
    auto one = co_await lab.ask(Verb::get, "/snapshots?name=team%2Fwork%3Av2");
    EXPECT_EQ(one.body.as_array().at(0).at("snapshotID"), tagged.body.at("snapshotID"));
    auto none = co_await lab.ask(Verb::get, "/snapshots?name=nothing");
    EXPECT_TRUE(none.body.as_array().empty());
    auto all = co_await lab.ask(Verb::get, "/snapshots");
    EXPECT_EQ(all.body.as_array().size(), 3u);
    expect_reply(co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"team/work"})"), 201);
    EXPECT_EQ(lab.node.last_create.at("checkpoint"), second.body.at("snapshotID"));
    // What is a template's name is none of a snapshot's.
    expect_reply(co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"taken"})"), 202);
    expect_reply(co_await snapshot(lab, id, R"({"name":"taken"})"), 409, "taken");
    for (const char* bad : {R"({"name":"no good"})", R"({"name":"a:b:c"})", R"({"name":7})"}) {
      expect_reply(co_await snapshot(lab, id, bad), 400);
    }
    expect_reply(co_await snapshot(lab, id, R"({"name":"base"})"), 409, "reserved");
    // In pages.
    std::set<std::string> seen;
    std::string token;
    for (int page = 0; page < 3; ++page) {
      auto reply = co_await lab.ask(Verb::get, "/snapshots?limit=1&nextToken=" + token);
      EXPECT_EQ(reply.body.as_array().size(), 1u);
      seen.insert(member(reply.body.as_array().at(0), "snapshotID"));
      token = std::string(reply.fields["X-Next-Token"]);
      EXPECT_EQ(token.empty(), page == 2);
    }
    EXPECT_EQ(seen.size(), 3u);
    expect_reply(co_await lab.ask(Verb::get, "/snapshots?limit=0"), 400, "limit");
    expect_reply(co_await lab.ask(Verb::get, "/snapshots?nextToken=x"), 400, "nextToken");
  });
}

TEST_F(ApiCopiesTest, ASnapshotIsForThoseWhoMayReadIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string a = put_key(lab, "ka", "acme", "member", R"({"agent":"build/a"})");
    std::string b = put_key(lab, "kb", "acme", "member", R"({"agent":"build/b"})");
    std::string low = put_key(lab, "klow", "acme", "owner", "", "public");
    std::string viewer = put_key(lab, "kviewer", "acme", "viewer");
    std::string other = put_key(lab, "kother", "other", "owner");
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made = co_await lab.ask_with_key(
        Verb::post, "/v2/sandboxes", R"({"templateID":"base","label":"internal"})", a);
    std::string id = member(made.body, "sandboxID");
    auto taken = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/snapshots",
                                           R"({"name":"mine"})", a);
    expect_reply(taken, 201);
    std::string name = member(taken.body, "snapshotID");
    for (const std::string& key : {b, low, other}) {
      auto listed = co_await lab.ask_with_key(Verb::get, "/snapshots", "", key);
      EXPECT_TRUE(listed.body.as_array().empty());
      for (const std::string& by : {name, std::string("mine")}) {
        expect_reply(co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                               R"({"templateID":")" + by + "\"}", key),
                     404);
        expect_reply(co_await lab.ask_with_key(Verb::delete_, "/templates/" + by, "", key), 404);
      }
    }
    expect_reply(co_await lab.ask_with_key(Verb::delete_, "/templates/" + name, "", viewer), 403);
    auto seen = co_await lab.ask_with_key(Verb::get, "/snapshots", "", viewer);
    EXPECT_EQ(seen.body.as_array().size(), 1u);
    // Nor does another agent take the name, or learn more than that it is taken.
    auto theirs = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                            R"({"templateID":"base"})", b);
    std::string path = "/sandboxes/" + member(theirs.body, "sandboxID") + "/snapshots";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, R"({"name":"mine"})", b), 409, "taken");
    for (const std::string& key : {a, owner}) {
      expect_reply(co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                             R"({"templateID":"mine"})", key),
                   201);
    }
    expect_reply(co_await lab.ask_with_key(Verb::delete_, "/templates/mine", "", owner), 204);
  });
}

TEST_F(ApiCopiesTest, ASnapshotTakesDisk) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kacme", "acme", "owner");
    put_quota(lab, "acme", R"({"diskMB":8192})");
    auto made =
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", key);
    std::string path = "/sandboxes/" + member(made.body, "sandboxID") + "/snapshots";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", key), 201);
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", key), 429, "quota.disk");
    EXPECT_EQ(lab.node.checkpoints.size(), 1u);
  });
}

TEST_F(ApiCopiesTest, ASnapshotThatFailsLeavesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    for (ErrorCode code : {ErrorCode::no_space, ErrorCode::timed_out}) {
      lab.node.before = [code](const std::string& method, const json::object&) {
        std::optional<FakeNode::Answer> answer;
        if (method == "box.checkpoint") answer = Error(code, "no");
        return answer;
      };
      auto refused = co_await snapshot(lab, id);
      EXPECT_GE(refused.status, 500u);
      EXPECT_TRUE(store_of(lab)->snapshots().all_snapshots("").value().empty());
    }
    lab.node.before = nullptr;
    auto taken = co_await snapshot(lab, id);
    lab.node.damaged.insert(member(taken.body, "snapshotID"));
    expect_reply(co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":")" +
                                      member(taken.body, "snapshotID") + "\"}"),
                 500, "damaged");
    EXPECT_EQ(lab.node.boxes.size(), 1u);
  });
}

TEST_F(ApiCopiesTest, SnapshotsThatACrashCutOffAreCleared) {
  without_api([](ApiLab& lab) -> Task<void> {
    lab.node.start();
    EXPECT_TRUE(co_await lab.start_api());
    co_await lab.stop_api();
    co_await lab.node.stop();
    int64_t now = to_unix_ms(WallClock::now());
    {
      auto store = store_of(lab);
      for (const char* id : {"s-making", "s-ready", "s-gone", "s-young"}) {
        store::SnapshotRecord record;
        record.id = id;
        record.created_ms = record.id == "s-young" ? now : now - 3'600'000;
        EXPECT_TRUE(store->snapshots().add_snapshot(record));
        if (record.id == "s-making" || record.id == "s-young") continue;
        EXPECT_TRUE(store->snapshots().set_snapshot_ready(id, {"", "public", 1}));
      }
    }
    for (const char* id : {"s-making", "s-ready", "s-young"}) {
      json::object kept = {{"checkpoint", id}, {"tenant", "default"}, {"memory", true},
                           {"created_ms", now}};
      lab.node.checkpoints[id] = kept;
    }
    lab.node.calls.clear();
    co_await lab.start();
    std::set<std::string> left;
    auto all = store_of(lab)->snapshots().all_snapshots("").value();
    for (const store::SnapshotRecord& each : all) left.insert(each.id);
    EXPECT_EQ(left, (std::set<std::string>{"s-ready", "s-young"}));
    EXPECT_EQ(lab.node.checkpoints.size(), 2u);
  });
}

TEST_F(ApiCopiesTest, ASandboxGoesBackToItsOwnSnapshotsOnly) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(), other = co_await lab.create();
    auto mine = co_await snapshot(lab, id, R"({"name":"before"})");
    auto theirs = co_await snapshot(lab, other);
    std::string snapshot_id = member(mine.body, "snapshotID");
    auto back = co_await roll_back(lab, id, snapshot_id);
    expect_reply(back, 200);
    EXPECT_EQ(member(back.body, "sandboxID"), id);
    expect_reply(co_await roll_back(lab, id, "before"), 200);
    EXPECT_EQ(count_calls(lab, "box.rollback"), 2u);
    expect_reply(co_await roll_back(lab, id, member(theirs.body, "snapshotID")), 404, "snapshot");
    expect_reply(co_await roll_back(lab, id, "s-" + std::string(20, 'x')), 404, "snapshot");
    expect_reply(co_await roll_back(lab, "inone", snapshot_id), 404, "sandbox");
    expect_reply(co_await lab.ask(Verb::post, "/v1/sandboxes/" + id + "/rollback", "{}"), 400,
                 "snapshotID");
    EXPECT_EQ(count_calls(lab, "box.rollback"), 2u);
    lab.node.damaged.insert(snapshot_id);
    expect_reply(co_await roll_back(lab, id, snapshot_id), 500, "damaged");
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(member(detail.body, "state"), "running");
    lab.node.checkpoints.erase(snapshot_id);
    expect_reply(co_await roll_back(lab, id, snapshot_id), 404, "snapshot");
    expect_reply(co_await lab.ask(Verb::post, "/sandboxes/" + id + "/pause"), 204);
    expect_reply(co_await roll_back(lab, id, snapshot_id), 409, "is paused");
  });
}

}  // namespace
}  // namespace hako::test
