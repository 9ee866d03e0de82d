// The API server as its clients see it.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/clock.h"
#include "store/store.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

class ApiTest : public ::testing::Test {
 protected:
  /// Runs `body` with API and node up.
  void with_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, started(body)); }
  /// Runs `body`, which starts what it wants.
  void without_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, stopped_after(body(lab_))); }

 private:
  Task<void> started(Task<void> (*body)(ApiLab&)) {
    co_await lab_.start();
    co_await stopped_after(body(lab_));
  }
  Task<void> stopped_after(Task<void> body) {
    std::exception_ptr fault;
    try {
      co_await std::move(body);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }

  ApiLab lab_;
};

/// The least that makes a sandbox.
constexpr const char* kBase = R"({"templateID":"base"})";

void expect_error(const Reply& reply, unsigned status, std::string_view part) {
  EXPECT_EQ(reply.status, status) << reply.message();
  ASSERT_TRUE(reply.body.is_object());
  EXPECT_EQ(reply.body.at("code").to_number<unsigned>(), status);
  EXPECT_NE(reply.message().find(part), std::string::npos) << reply.message();
}

TEST_F(ApiTest, ASandboxFromCreateToDelete) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(
        Verb::post, "/v2/sandboxes",
        R"({"templateID":"base","timeout":60,"metadata":{"a":"b"},"envVars":{"K":"V"}})");
    EXPECT_EQ(made.status, 201u);
    std::string id(made.body.at("sandboxID").as_string());
    std::string token(made.body.at("envdAccessToken").as_string());
    EXPECT_EQ(id.size(), 21u);
    EXPECT_EQ(id.front(), 'i');
    EXPECT_EQ(made.body.at("isolation"), "emulated");
    EXPECT_EQ(made.body.at("templateID"), "base");
    EXPECT_EQ(lab.node.last_create.at("envs").at("K"), "V");
    // The guest's own stays between the two of us.
    EXPECT_NE(lab.node.last_create.at("access_token"), json::value(token));
    json::object ingress = lab.node.last_create.at("ingress").as_object();
    EXPECT_TRUE(takes(ingress, json::value(token), "sandbox.exec"));

    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.status, 200u);
    EXPECT_EQ(detail.body.at("state"), "running");
    EXPECT_EQ(detail.body.at("memoryMB"), 256);
    EXPECT_EQ(detail.body.at("metadata").at("a"), "b");
    EXPECT_EQ(detail.body.at("envdAccessToken"), json::value(token));

    auto list = co_await lab.ask(Verb::get, "/v2/sandboxes?metadata=a%3Db&state=running");
    EXPECT_EQ(list.body.as_array().size(), 1u);
    EXPECT_EQ(list.fields["X-Total-Running"], "1");
    EXPECT_EQ(list.fields.count("X-Next-Token"), 0u);
    auto others = co_await lab.ask(Verb::get, "/v2/sandboxes?metadata=a%3Dc");
    EXPECT_TRUE(others.body.as_array().empty());
    auto paused = co_await lab.ask(Verb::get, "/v2/sandboxes?state=paused");
    EXPECT_TRUE(paused.body.as_array().empty());
    EXPECT_EQ(paused.fields.count("X-Total-Running"), 0u);
    auto old_list = co_await lab.ask(Verb::get, "/sandboxes");
    EXPECT_EQ(old_list.body.as_array().size(), 1u);

    for (const char* path : {"/v2/sandboxes/", "/sandboxes/"}) {
      auto connected = co_await lab.ask(Verb::post, path + id + "/connect", R"({"timeout":10})");
      EXPECT_EQ(connected.status, 200u);
      EXPECT_EQ(connected.body.at("envdAccessToken"), json::value(token));
    }
    auto deleted = co_await lab.ask(Verb::delete_, "/sandboxes/" + id);
    EXPECT_EQ(deleted.status, 204u);
    EXPECT_TRUE(lab.node.boxes.empty());
    expect_error(co_await lab.ask(Verb::get, "/sandboxes/" + id), 404, id);
    expect_error(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 404, id);
  });
}

TEST_F(ApiTest, TheFirstGenerationIsSecureUnlessItSaysNo) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto open =
        co_await lab.ask(Verb::post, "/sandboxes", R"({"templateID":"base","secure":false})");
    EXPECT_EQ(open.status, 201u);
    EXPECT_FALSE(open.body.as_object().contains("envdAccessToken"));
    EXPECT_FALSE(lab.node.last_create.contains("access_token"));
    int64_t left = lab.node.last_create.at("ends_ms").as_int64() - to_unix_ms(WallClock::now());
    EXPECT_LE(left, 15'000);
    auto secure = co_await lab.ask(Verb::post, "/sandboxes", R"({"templateID":"base"})");
    EXPECT_TRUE(secure.body.as_object().contains("envdAccessToken"));
    EXPECT_TRUE(lab.node.last_create.contains("access_token"));
  });
}

TEST_F(ApiTest, NothingWithoutAKey) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string wrong = "e2b_" + std::string(40, 'a');
    for (const std::string& key : {std::string(), wrong, std::string(5000, 'x')}) {
      for (const char* path : {"/v2/sandboxes", "/v1/info", "/no/such/path"}) {
        auto reply = co_await lab.ask_with_key(Verb::get, path, "", key);
        expect_error(reply, 401, "API key");
      }
    }
    auto health = co_await lab.ask_with_key(Verb::get, "/health", "", "");
    EXPECT_EQ(health.status, 200u);
    auto document = co_await lab.ask_with_key(Verb::get, "/openapi.json", "", "");
    EXPECT_EQ(document.body.at("openapi"), "3.1.0");
    EXPECT_TRUE(lab.node.boxes.empty());
  });
}

TEST_F(ApiTest, BadRequestsNameWhatIsWrong) {
  with_api([](ApiLab& lab) -> Task<void> {
    const char* kCreate = "/v2/sandboxes";
    expect_error(co_await lab.ask(Verb::post, kCreate, "{"), 400, "not valid JSON");
    expect_error(co_await lab.ask(Verb::post, kCreate, "[]"), 400, "must be a JSON object");
    expect_error(co_await lab.ask(Verb::post, kCreate, R"({"timeout":"x"})"), 400, "timeout");
    expect_error(co_await lab.ask(Verb::post, kCreate, "{}"), 400, "templateID is required");
    expect_error(co_await lab.ask(Verb::post, kCreate, ""), 400, "templateID");
    const char* kLarge = R"({"templateID":"base","memoryMB":1000000})";
    expect_error(co_await lab.ask(Verb::post, kCreate, kLarge), 400, "memoryMB: ");
    const char* kLong = R"({"templateID":"base","timeout":99999999})";
    expect_error(co_await lab.ask(Verb::post, kCreate, kLong), 400, "timeout: ");
    const char* kVolume = R"({"templateID":"base","volumeMounts":[{"name":"v","path":"/v"}]})";
    expect_error(co_await lab.ask(Verb::post, kCreate, kVolume), 501, "volumeMounts");
    expect_error(co_await lab.ask(Verb::get, "/v2/sandboxes?limit=0"), 400, "limit");
    expect_error(co_await lab.ask(Verb::get, "/v2/nothing"), 404, "/v2/nothing");
    expect_error(co_await lab.ask(Verb::get, "/v2/\xff\xfe"), 404, "/v2/??");
    expect_error(co_await lab.ask(Verb::get, "/sandboxes/%ff%22"), 404, "sandbox not found");
    auto wrong_method = co_await lab.ask(Verb::put, kCreate, "{}");
    expect_error(wrong_method, 405, "POST, GET");
    EXPECT_EQ(wrong_method.fields["Allow"], "POST, GET");
    std::string large = "{\"metadata\":{\"a\":\"" + std::string(1 << 20, 'x') + "\"}}";
    expect_error(co_await lab.ask(Verb::post, kCreate, std::move(large)), 413, "1048576");
    EXPECT_TRUE(lab.node.last_create.empty());
  });
}

TEST_F(ApiTest, BodiesMayComeInChunks) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
    CO_ASSERT_TRUE(stream);
    http::Client client(std::move(stream.value()));
    http::Request request;
    request.method = Verb::post;
    request.target = "/v2/sandboxes";
    request.fields.set(http::Field::host, "127.0.0.1");
    request.fields.set("X-API-KEY", lab.key);
    CO_ASSERT_TRUE(co_await client.begin(std::move(request)));
    for (std::string piece : {"{\"temp", "lateID\":\"ba", "se\"}"}) {
      CO_ASSERT_TRUE(co_await client.write(asio::buffer(piece)));
    }
    CO_ASSERT_TRUE(co_await client.finish());
    auto head = co_await client.read_head();
    CO_ASSERT_TRUE(head);
    EXPECT_EQ(head.value().status, 201u);
  });
}

TEST_F(ApiTest, AnUnknownTemplateLeavesNoRecord) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"other"})");
    expect_error(reply, 404, "template 'other'");
    auto never = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"../x"})");
    expect_error(never, 404, "template");
    co_await lab.stop_api();
    auto store = store::open_sqlite_store(lab.config.database());
    EXPECT_TRUE(store.value()->all_sandboxes().value().empty());
  });
}

TEST_F(ApiTest, AFullNodeIsATooMany) {
  with_api([](ApiLab& lab) -> Task<void> {
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.create") answer = Error(ErrorCode::resource_exhausted, "no slot is left");
      return answer;
    };
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    expect_error(reply, 429, "no slot is left");
    EXPECT_EQ(reply.fields["Retry-After"], "1");
  });
}

TEST_F(ApiTest, ACreateThatFailsHalfWayLeavesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    lab.node.before = [&lab](const std::string& method, const json::object& body) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.create") {
        lab.node.boxes[std::string(body.at("box").as_string())] = body;
        answer = Error(ErrorCode::internal, "open /var/lib/hako/disk: no such file");
      }
      return answer;
    };
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    expect_error(reply, 500, "internal error");
    EXPECT_EQ(reply.message().find("/var"), std::string::npos);
    EXPECT_EQ(lab.node.calls.back(), "box.destroy");
    EXPECT_TRUE(lab.node.boxes.empty());
    co_await lab.stop_api();
    auto store = store::open_sqlite_store(lab.config.database());
    EXPECT_TRUE(store.value()->all_sandboxes().value().empty());
  });
}

TEST_F(ApiTest, AGuestThatDoesNotComeUpIsToldWithItsConsole) {
  with_api([](ApiLab& lab) -> Task<void> {
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.create") {
        answer = Error(ErrorCode::timed_out,
                       "the guest of template 'base' did not come up (try 2 of 2); its console "
                       "ends: Kernel panic");
      }
      return answer;
    };
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    EXPECT_GE(reply.status, 500u);
    EXPECT_NE(reply.message().find("did not come up"), std::string::npos) << reply.message();
    EXPECT_NE(reply.message().find("Kernel panic"), std::string::npos) << reply.message();
    EXPECT_EQ(lab.node.calls.back(), "box.destroy");
  });
}

TEST_F(ApiTest, ABoxThatDiesWhileStartingIsNoSandbox) {
  with_api([](ApiLab& lab) -> Task<void> {
    lab.node.created = [&lab] {
      // Told before the answer goes out.
      lab.node.tell_gone(lab.node.boxes.begin()->first, "died");
    };
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    // Whichever of the two messages the API gets to first.
    if (reply.status == 201) {
      std::string id(reply.body.at("sandboxID").as_string());
      EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/" + id, 404));
    } else {
      expect_error(reply, 503, "ended while it was starting");
    }
  });
}

TEST_F(ApiTest, WhileTheNodeIsAwayOnlyWhatNeedsItIsUnavailable) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    co_await lab.node.stop();
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    expect_error(reply, 503, "node");
    EXPECT_EQ(reply.fields["Retry-After"], "1");
    expect_error(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 503, "node");
    expect_error(co_await lab.ask(Verb::get, "/v1/info"), 503, "node");
    auto list = co_await lab.ask(Verb::get, "/v2/sandboxes");
    EXPECT_EQ(list.body.as_array().size(), 1u);
    auto connected =
        co_await lab.ask(Verb::post, "/v2/sandboxes/" + id + "/connect", R"({"timeout":1})");
    EXPECT_EQ(connected.status, 200u);

    lab.node.start();
    EXPECT_TRUE(co_await lab.eventually_status("/v1/info", 200));
    auto deleted = co_await lab.ask(Verb::delete_, "/sandboxes/" + id);
    EXPECT_EQ(deleted.status, 204u);
  });
}

TEST_F(ApiTest, ANodeLostInMidCreateLeavesNothingBehind) {
  with_api([](ApiLab& lab) -> Task<void> {
    TaskGroup tasks(lab.loop.get_executor());
    lab.node.before = [&](const std::string& method, const json::object&) {
      if (method == "box.create") tasks.spawn("end of the node", lab.node.stop());
      return std::optional<FakeNode::Answer>();
    };
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    std::function<bool()> ended = [&tasks] { return tasks.size() == 0; };
    EXPECT_TRUE(co_await lab.eventually(std::move(ended)));
    if (reply.status == 201) co_return;  // the answer was quicker than the end
    expect_error(reply, 503, "node");
    auto list = co_await lab.ask(Verb::get, "/sandboxes");
    EXPECT_TRUE(list.body.as_array().empty());
  });
}

TEST_F(ApiTest, GoneBoxesAreNotFound) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    lab.node.tell_gone(id, "died");
    EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/" + id, 404));
    auto timeout =
        co_await lab.ask(Verb::post, "/sandboxes/" + id + "/timeout", R"({"timeout":5})");
    expect_error(timeout, 404, id);
  });
}

TEST_F(ApiTest, WhoHadABoxIsToldWhyItEnded) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string hungry = co_await lab.create(), broken = co_await lab.create();
    lab.node.tell_gone(hungry, "out_of_memory", "it wanted more than 5 MiB");
    lab.node.tell_gone(broken, "died", "VMM ended and wrote: of files of the host");
    EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/" + hungry, 404));
    EXPECT_TRUE(co_await lab.eventually_status("/sandboxes/" + broken, 404));
    auto reply = co_await lab.ask(Verb::get, "/sandboxes/" + hungry);
    EXPECT_EQ(reply.message(), "sandbox " + hungry +
                                   " not found: it ended out of memory: it wanted more than 5 MiB");
    reply = co_await lab.ask(Verb::get, "/sandboxes/" + broken);
    EXPECT_EQ(reply.message(),
              "sandbox " + broken + " not found: its machine has ended by itself");
    auto log = co_await lab.ask(Verb::get, "/v1/audit?action=box.out_of_memory");
    const json::array& records = log.body.at("records").as_array();
    EXPECT_EQ(records.size(), 1u);
    if (!records.empty()) {
      EXPECT_EQ(records.front().at("reason").as_string(), "it wanted more than 5 MiB");
    }
    // For those who did not see it, it never was.
    auto tenant = co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"beta"})");
    EXPECT_EQ(tenant.status, 201u);
    auto made = co_await lab.ask_in("beta", Verb::post, "/v1/keys", R"({"role":"owner"})");
    EXPECT_EQ(made.status, 201u);
    std::string theirs(made.body.at("key").as_string());
    reply = co_await lab.ask_with_key(Verb::get, "/sandboxes/" + hungry, "", theirs);
    expect_error(reply, 404, "sandbox " + hungry + " not found");
    EXPECT_EQ(reply.message().find("memory"), std::string::npos) << reply.message();
  });
}

TEST_F(ApiTest, TheEndMovesAsAsked) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(R"({"templateID":"base","timeout":100})");
    auto ends = [&lab, id] { return lab.node.boxes[id].at("ends_ms").as_int64(); };
    int64_t first = ends();
    auto refreshed =
        co_await lab.ask(Verb::post, "/sandboxes/" + id + "/refreshes", R"({"duration":10})");
    EXPECT_EQ(refreshed.status, 204u);
    EXPECT_EQ(ends(), first);
    auto connected =
        co_await lab.ask(Verb::post, "/sandboxes/" + id + "/connect", R"({"timeout":200})");
    EXPECT_EQ(connected.status, 200u);
    EXPECT_GT(ends(), first);
    auto shorter =
        co_await lab.ask(Verb::post, "/sandboxes/" + id + "/timeout", R"({"timeout":50})");
    EXPECT_EQ(shorter.status, 204u);
    EXPECT_LT(ends(), first);
    auto too_long =
        co_await lab.ask(Verb::post, "/sandboxes/" + id + "/timeout", R"({"timeout":9999999})");
    expect_error(too_long, 400, "ttl_seconds");

    // The node is slow to end it here, and still it is gone at once.
    auto ended = co_await lab.ask(Verb::post, "/sandboxes/" + id + "/timeout", R"({"timeout":0})");
    EXPECT_EQ(ended.status, 204u);
    EXPECT_EQ(lab.node.boxes.count(id), 1u);
    expect_error(co_await lab.ask(Verb::get, "/sandboxes/" + id), 404, id);
    auto list = co_await lab.ask(Verb::get, "/v2/sandboxes");
    EXPECT_TRUE(list.body.as_array().empty());
  });
}

TEST_F(ApiTest, PagesCoverAllOnceInBothOrders) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::set<std::string> made;
    for (int i = 0; i < 7; ++i) made.insert(co_await lab.create());
    for (const char* order : {"asc", "desc"}) {
      std::vector<std::string> seen;
      std::string token;
      for (int page = 0; page < 4; ++page) {
        auto reply = co_await lab.ask(
            Verb::get, std::string("/v2/sandboxes?limit=3&order=") + order + "&nextToken=" + token);
        EXPECT_EQ(reply.status, 200u);
        EXPECT_EQ(reply.fields["X-Total-Running"], "7");
        for (const auto& each : reply.body.as_array()) {
          seen.emplace_back(each.at("sandboxID").as_string());
        }
        auto next = reply.fields["X-Next-Token"];
        token = std::string(next.data(), next.size());
        if (token.empty()) break;
      }
      EXPECT_EQ(seen.size(), 7u);
      EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()), made);
    }
  });
}

TEST_F(ApiTest, ManyCreatesAtOnceAllSucceed) {
  with_api([](ApiLab& lab) -> Task<void> {
    TaskGroup tasks(lab.loop.get_executor());
    std::set<std::string> made;
    struct One {
      static Task<void> create(ApiLab& lab, std::set<std::string>& made) {
        made.insert(co_await lab.create());
      }
    };
    for (int i = 0; i < 50; ++i) tasks.spawn("create", One::create(lab, made));
    std::function<bool()> all = [&made] { return made.size() == 50; };
    EXPECT_TRUE(co_await lab.eventually(std::move(all)));
    auto list = co_await lab.ask(Verb::get, "/v2/sandboxes?limit=100");
    EXPECT_EQ(list.body.as_array().size(), 50u);
    co_await tasks.stop();
  });
}

TEST_F(ApiTest, LogsAreTheConsole) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    auto first = co_await lab.ask(Verb::get, "/sandboxes/" + id + "/logs");
    EXPECT_EQ(first.status, 200u);
    EXPECT_EQ(first.body.at("logs").at(0).at("line"), "sandbox started from template base");
    EXPECT_EQ(first.body.at("logs").at(2).at("line"), "[1msecond");
    auto second = co_await lab.ask(Verb::get, "/v2/sandboxes/" + id + "/logs?search=fir&limit=5");
    EXPECT_EQ(second.body.at("logs").as_array().size(), 1u);
    EXPECT_EQ(second.body.at("logs").at(0).at("fields").at("source"), "console");
    (void)co_await lab.ask(Verb::post, "/sandboxes/" + id + "/timeout", R"({"timeout":60})");
    auto last =
        co_await lab.ask(Verb::get, "/v2/sandboxes/" + id + "/logs?direction=backward&limit=1");
    EXPECT_EQ(last.body.at("logs").at(0).at("fields").at("source"), "sandbox");
    EXPECT_TRUE(last.body.at("logs").at(0).at("message").as_string().starts_with("end moved to "));
    auto warnings = co_await lab.ask(Verb::get, "/v2/sandboxes/" + id + "/logs?level=warn");
    EXPECT_TRUE(warnings.body.at("logs").as_array().empty());
    auto later = co_await lab.ask(Verb::get, "/v2/sandboxes/" + id + "/logs?cursor=9000000000000");
    EXPECT_TRUE(later.body.at("logs").as_array().empty());
    expect_error(co_await lab.ask(Verb::get, "/v2/sandboxes/" + id + "/logs?level=loud"), 400,
                 "level");
    expect_error(co_await lab.ask(Verb::get, "/sandboxes/inone/logs"), 404, "inone");
  });
}

TEST_F(ApiTest, WhatWasAskedOfTheNetworkIsKeptAndToldToTheGate) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(
        Verb::post, "/v2/sandboxes",
        R"({"templateID":"base","network":{"allowPublicTraffic":false,"maskRequestHost":"a:${PORT}"},
            "autoPause":true,"allow_internet_access":true})");
    EXPECT_EQ(made.status, 201u);
    json::value token = made.body.at("trafficAccessToken");
    EXPECT_EQ(token.as_string().size(), 40u);
    json::object ingress = lab.node.last_create.at("ingress").as_object();
    EXPECT_NE(ingress.at("traffic_token"), token);
    EXPECT_TRUE(takes(ingress, token, "sandbox.ports"));
    EXPECT_EQ(ingress.at("mask_host"), "a:${PORT}");
    std::string path = "/sandboxes/" + std::string(made.body.at("sandboxID").as_string());
    auto again = co_await lab.ask(Verb::post, path + "/connect", R"({"timeout":10})");
    EXPECT_EQ(again.body.at("trafficAccessToken"), token);
    auto detail = co_await lab.ask(Verb::get, path);
    EXPECT_EQ(detail.body.at("network").at("allowPublicTraffic"), false);
    EXPECT_EQ(detail.body.at("lifecycle").at("onTimeout"), "pause");
    EXPECT_EQ(detail.body.at("allowInternetAccess"), false);  // not here, whatever was asked for
    auto changed = co_await lab.ask(Verb::put, path + "/network",
                                    R"({"denyOut":["0.0.0.0/0"],"allow_internet_access":false})");
    EXPECT_EQ(changed.status, 204u);
    detail = co_await lab.ask(Verb::get, path);
    EXPECT_EQ(detail.body.at("network").at("denyOut").at(0), "0.0.0.0/0");
    EXPECT_EQ(detail.body.at("network").at("maskRequestHost"), "a:${PORT}");
    EXPECT_EQ(detail.body.at("allowInternetAccess"), false);
    expect_error(co_await lab.ask(Verb::put, path + "/network", R"({"denyOut":["x.example"]})"),
                 400, "denyOut");
    expect_error(co_await lab.ask(Verb::put, "/sandboxes/inone/network", "{}"), 404, "inone");
    std::string open = co_await lab.create();
    EXPECT_FALSE(lab.node.last_create.at("ingress").as_object().contains("traffic_token"));
  });
}

TEST_F(ApiTest, WhatIsMissingSaysSo) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    for (const char* action : {"/pause", "/snapshots", "/fork", "/resume"}) {
      expect_error(co_await lab.ask(Verb::post, std::string("/sandboxes/inone") + action, "{}"),
                   404, "inone");
    }
    expect_error(co_await lab.ask(Verb::post, "/sandboxes/" + id + "/fork", R"({"count":0})"), 400,
                 "count");
    for (const char* path :
         {"/volumes", "/teams", "/api-keys", "/volumecontent/v/dir"}) {
      expect_error(co_await lab.ask(Verb::get, path), 501, "not supported");
    }
    expect_error(co_await lab.ask(Verb::get, "/volumesx"), 404, "does not exist");
    expect_error(co_await lab.ask(Verb::post, "/sandboxes/" + id + "/resume", "{}"), 409,
                 "already running");
    auto snapshots = co_await lab.ask(Verb::get, "/snapshots");
    EXPECT_TRUE(snapshots.body.as_array().empty());
  });
}

TEST_F(ApiTest, TemplatesAndInfo) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto info = co_await lab.ask(Verb::get, "/v1/info");
    EXPECT_EQ(info.body.at("isolation"), "emulated");
    EXPECT_EQ(info.body.at("gateUrl"), "http://127.0.0.1:3002");
    EXPECT_FALSE(info.body.as_object().contains("gateHttpsUrl"));
    auto own = co_await lab.ask(Verb::get, "/v1/templates");
    EXPECT_EQ(own.body.at("templates").at(0).at("name"), "base");
    auto theirs = co_await lab.ask(Verb::get, "/templates");
    EXPECT_EQ(theirs.body.at(0).at("templateID"), "base");
    auto alias = co_await lab.ask(Verb::get, "/templates/aliases/base");
    EXPECT_EQ(alias.status, 200u);
    expect_error(co_await lab.ask(Verb::get, "/templates/aliases/none"), 404, "none");
    expect_error(co_await lab.ask(Verb::post, "/v1/templates", R"({"name":"py"})"), 409,
                 "this node builds nothing");
    auto removed = co_await lab.ask(Verb::delete_, "/v1/templates/py");
    EXPECT_EQ(removed.status, 204u);
  });
}

TEST_F(ApiTest, BuildsAreRegisteredAndFail) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v3/templates",
                                 R"({"name":"Team/App:v1","tags":["v1","next"],"cpuCount":1})");
    EXPECT_EQ(made.status, 202u);
    EXPECT_EQ(json::serialize(made.body.at("tags")), R"(["v1","next"])");
    EXPECT_EQ(made.body.at("names").at(0), "team/app");
    std::string id(made.body.at("templateID").as_string());
    std::string build(made.body.at("buildID").as_string());
    std::string status = "/templates/" + id + "/builds/" + build + "/status";
    auto waiting = co_await lab.ask(Verb::get, status);
    EXPECT_EQ(waiting.body.at("status"), "waiting");
    EXPECT_FALSE(waiting.body.as_object().contains("reason"));

    std::string start = "/v2/templates/" + id + "/builds/" + build;
    expect_error(co_await lab.ask(Verb::post, start, R"({"steps":[{"type":"NO"}]})"), 400,
                 "steps[0].type");
    auto begun = co_await lab.ask(Verb::post, start, R"({"fromTemplate":"base","steps":[]})");
    EXPECT_EQ(begun.status, 202u);
    EXPECT_EQ(begun.fields["Content-Length"], "0");
    Reply ended;
    for (int i = 0; i < 200; ++i) {
      ended = co_await lab.ask(Verb::get, status);
      if (ended.body.at("status") == "error") break;
      co_await sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(ended.body.at("reason").at("step"), "base");
    EXPECT_EQ(ended.body.at("reason").at("message"), "this node builds nothing");
    EXPECT_EQ(ended.body.at("logs").at(0), "[base] FROM base");
    auto rest = co_await lab.ask(Verb::get, status + "?logsOffset=100");
    EXPECT_TRUE(rest.body.at("logEntries").as_array().empty());
    expect_error(co_await lab.ask(Verb::post, start, "{}"), 409, "started already");

    expect_error(co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"team/app"})"), 404,
                 "no build with the tag 'default'");
    expect_error(co_await lab.ask(Verb::get, "/templates/" + id + "/builds/none/status"), 404,
                 "build");
    expect_error(co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"base"})"), 409,
                 "installed image");
    expect_error(co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"a:"})"), 400, "tag");
    expect_error(co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"a","memoryMB":1})"), 400,
                 "memoryMB");
  });
}

TEST_F(ApiTest, TemplatesAreListedTaggedAndRemoved) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"app"})");
    std::string id(made.body.at("templateID").as_string());
    auto first = co_await lab.ask(Verb::get, "/v2/templates?limit=1");
    EXPECT_EQ(first.body.at(0).at("templateID"), "base");
    EXPECT_EQ(first.fields["X-Next-Token"], "1");
    auto second = co_await lab.ask(Verb::get, "/v2/templates?limit=1&nextToken=1");
    EXPECT_EQ(second.body.at(0).at("templateID").as_string(), id);
    EXPECT_EQ(second.body.at(0).at("buildStatus"), "waiting");
    EXPECT_EQ(second.fields.count("X-Next-Token"), 0u);
    auto alias = co_await lab.ask(Verb::get, "/templates/aliases/app");
    EXPECT_EQ(alias.body.at("templateID").as_string(), id);
    auto changed = co_await lab.ask(Verb::patch, "/v2/templates/app", R"({"public":true})");
    EXPECT_EQ(json::serialize(changed.body), R"({"names":["app"]})");
    alias = co_await lab.ask(Verb::get, "/templates/aliases/app");
    EXPECT_EQ(alias.body.at("public"), true);

    expect_error(co_await lab.ask(Verb::post, "/templates/tags",
                                  R"({"target":"app:none","tags":["x"]})"),
                 404, "none");
    expect_error(co_await lab.ask(Verb::post, "/templates/tags",
                                  R"({"target":"app","tags":[":x"]})"),
                 400, "tag");
    expect_error(co_await lab.ask(Verb::delete_, "/templates/tags",
                                  R"({"name":"app","tags":["default"]})"),
                 400, "default");
    expect_error(co_await lab.ask(Verb::delete_, "/templates/tags",
                                  R"({"name":"nobody","tags":["x"]})"),
                 404, "nobody");
    auto tags = co_await lab.ask(Verb::get, "/templates/app/tags");
    EXPECT_TRUE(tags.body.as_array().empty());
    auto removed = co_await lab.ask(Verb::delete_, "/templates/" + id);
    EXPECT_EQ(removed.status, 204u);
    expect_error(co_await lab.ask(Verb::delete_, "/templates/" + id), 404, "not found");
    expect_error(co_await lab.ask(Verb::delete_, "/templates/base"), 409, "installed image");
  });
}

TEST_F(ApiTest, UploadsNeedNoKeyButTheirOwnPath) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"app"})");
    std::string id(made.body.at("templateID").as_string());
    std::string files = "/templates/" + id + "/files/";
    expect_error(co_await lab.ask(Verb::get, files + "..%2Fx"), 400, "hex");
    std::string hash(64, 'a');
    auto link = co_await lab.ask(Verb::get, files + hash);
    EXPECT_EQ(link.status, 201u);
    EXPECT_EQ(link.body.at("present"), false);
    std::string url(link.body.at("url").as_string());
    std::string path = url.substr(url.find("/v1/"));
    expect_error(co_await lab.ask_with_key(Verb::put, "/v1/template-files/guess", "x", ""), 404,
                 "not expected");
    auto sent = co_await lab.ask_with_key(Verb::put, path, "content", "");
    EXPECT_EQ(sent.status, 200u);
    link = co_await lab.ask(Verb::get, files + hash);
    EXPECT_EQ(link.body.at("present"), true);
    // Another template's files are its own.
    auto other = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"other"})");
    std::string theirs(other.body.at("templateID").as_string());
    link = co_await lab.ask(Verb::get, "/templates/" + theirs + "/files/" + hash);
    EXPECT_EQ(link.body.at("present"), false);
  });
}

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

TEST_F(ApiTest, ARestartBringsRecordsAndBoxesTogether) {
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

TEST_F(ApiTest, SandboxesOutliveARestart) {
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

TEST_F(ApiTest, EmulatedBoxesStayOnLoopback) {
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

TEST_F(ApiTest, ADamagedDatabaseStopsTheStart) {
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
