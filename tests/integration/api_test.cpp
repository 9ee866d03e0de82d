// The API server as its clients see it.
#include <set>

#include "base/clock.h"
#include "store/store.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

using ApiTest = ApiFixture;

/// The least that makes a sandbox.
constexpr const char* kBase = R"({"templateID":"base"})";

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
    expect_refusal(co_await lab.ask(Verb::get, "/sandboxes/" + id), 404, id);
    expect_refusal(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 404, id);
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
        expect_refusal(reply, 401, "API key");
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
    expect_refusal(co_await lab.ask(Verb::post, kCreate, "{"), 400, "not valid JSON");
    expect_refusal(co_await lab.ask(Verb::post, kCreate, "[]"), 400, "must be a JSON object");
    expect_refusal(co_await lab.ask(Verb::post, kCreate, R"({"timeout":"x"})"), 400, "timeout");
    expect_refusal(co_await lab.ask(Verb::post, kCreate, "{}"), 400, "templateID is required");
    expect_refusal(co_await lab.ask(Verb::post, kCreate, ""), 400, "templateID");
    const char* kLarge = R"({"templateID":"base","memoryMB":1000000})";
    expect_refusal(co_await lab.ask(Verb::post, kCreate, kLarge), 400, "memoryMB: ");
    const char* kLong = R"({"templateID":"base","timeout":99999999})";
    expect_refusal(co_await lab.ask(Verb::post, kCreate, kLong), 400, "timeout: ");
    const char* kVolume = R"({"templateID":"base","volumeMounts":[{"name":"v","path":"/v"}]})";
    expect_refusal(co_await lab.ask(Verb::post, kCreate, kVolume), 501, "volumeMounts");
    expect_refusal(co_await lab.ask(Verb::get, "/v2/sandboxes?limit=0"), 400, "limit");
    expect_refusal(co_await lab.ask(Verb::get, "/v2/nothing"), 404, "/v2/nothing");
    expect_refusal(co_await lab.ask(Verb::get, "/v2/\xff\xfe"), 404, "/v2/??");
    expect_refusal(co_await lab.ask(Verb::get, "/sandboxes/%ff%22"), 404, "sandbox not found");
    auto wrong_method = co_await lab.ask(Verb::put, kCreate, "{}");
    expect_refusal(wrong_method, 405, "POST, GET");
    EXPECT_EQ(wrong_method.fields["Allow"], "POST, GET");
    std::string large = "{\"metadata\":{\"a\":\"" + std::string(1 << 20, 'x') + "\"}}";
    expect_refusal(co_await lab.ask(Verb::post, kCreate, std::move(large)), 413, "1048576");
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
    expect_refusal(reply, 404, "template 'other'");
    auto never = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"../x"})");
    expect_refusal(never, 404, "template");
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
    expect_refusal(reply, 429, "no slot is left");
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
    expect_refusal(reply, 500, "internal error");
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
      expect_refusal(reply, 503, "ended while it was starting");
    }
  });
}

TEST_F(ApiTest, WhileTheNodeIsAwayOnlyWhatNeedsItIsUnavailable) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    co_await lab.node.stop();
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    expect_refusal(reply, 503, "node");
    EXPECT_EQ(reply.fields["Retry-After"], "1");
    expect_refusal(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 503, "node");
    expect_refusal(co_await lab.ask(Verb::get, "/v1/info"), 503, "node");
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
    expect_refusal(reply, 503, "node");
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
    expect_refusal(timeout, 404, id);
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
    expect_refusal(reply, 404, "sandbox " + hungry + " not found");
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
    expect_refusal(too_long, 400, "ttl_seconds");

    // The node is slow to end it here, and still it is gone at once.
    auto ended = co_await lab.ask(Verb::post, "/sandboxes/" + id + "/timeout", R"({"timeout":0})");
    EXPECT_EQ(ended.status, 204u);
    EXPECT_EQ(lab.node.boxes.count(id), 1u);
    expect_refusal(co_await lab.ask(Verb::get, "/sandboxes/" + id), 404, id);
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
    expect_refusal(co_await lab.ask(Verb::get, "/v2/sandboxes/" + id + "/logs?level=loud"), 400,
                   "level");
    expect_refusal(co_await lab.ask(Verb::get, "/sandboxes/inone/logs"), 404, "inone");
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
    expect_refusal(co_await lab.ask(Verb::put, path + "/network", R"({"denyOut":["x.example"]})"),
                   400, "denyOut");
    expect_refusal(co_await lab.ask(Verb::put, "/sandboxes/inone/network", "{}"), 404, "inone");
    std::string open = co_await lab.create();
    EXPECT_FALSE(lab.node.last_create.at("ingress").as_object().contains("traffic_token"));
  });
}

TEST_F(ApiTest, WhatIsMissingSaysSo) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    for (const char* action : {"/pause", "/snapshots", "/fork", "/resume"}) {
      expect_refusal(co_await lab.ask(Verb::post, std::string("/sandboxes/inone") + action, "{}"),
                     404, "inone");
    }
    expect_refusal(co_await lab.ask(Verb::post, "/sandboxes/" + id + "/fork", R"({"count":0})"),
                   400, "count");
    for (const char* path :
         {"/volumes", "/teams", "/api-keys", "/volumecontent/v/dir"}) {
      expect_refusal(co_await lab.ask(Verb::get, path), 501, "not supported");
    }
    expect_refusal(co_await lab.ask(Verb::get, "/volumesx"), 404, "does not exist");
    expect_refusal(co_await lab.ask(Verb::post, "/sandboxes/" + id + "/resume", "{}"), 409,
                   "already running");
    auto snapshots = co_await lab.ask(Verb::get, "/snapshots");
    EXPECT_TRUE(snapshots.body.as_array().empty());
  });
}
}  // namespace
}  // namespace hako::test
