// Metrics: the API asks the box through the gate, which a server in the test stands in for.
#include <gtest/gtest.h>

#include "http/server.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

/// The gate and the guest behind it.
struct FakeGate {
  int asked = 0;
  std::string token;
  std::string said =
      R"({"ts":1,"cpu_count":1,"cpu_used_pct":3.5,"mem_total":100,"mem_used":50,"mem_cache":7,)"
      R"("disk_used":1,"disk_total":9,"mem_total_mib":0,"mem_used_mib":0})";
  bool silent = false;

  Task<void> handle(http::Exchange& exchange) {
    ++asked;
    token = exchange.head().header("X-Access-Token");
    if (silent) co_return co_await exchange.closed_by_client();
    http::Response response;
    response.status = exchange.head().path() == "/metrics" ? 200 : 404;
    response.body = said;
    (void)co_await exchange.respond(std::move(response));
  }
};

class ApiMetricsTest : public ::testing::Test {
 protected:
  void with_gate(Task<void> (*body)(ApiLab&, FakeGate&)) { run_on(lab_.loop, run(body)); }

  ApiLab lab_;
  FakeGate gate_;

 private:
  Task<void> run(Task<void> (*body)(ApiLab&, FakeGate&)) {
    auto listener = http::listen_tcp("127.0.0.1", 0);
    CO_ASSERT_TRUE(listener);
    lab_.config.gate_port = http::local_port(listener.value());
    TaskGroup tasks(lab_.loop.get_executor());
    http::Handler handler = [this](http::Exchange& exchange) { return gate_.handle(exchange); };
    tasks.spawn("gate", http::serve(std::move(listener.value()), std::move(handler)));
    co_await lab_.start();
    co_await body(lab_, gate_);
    co_await lab_.stop();
    co_await tasks.stop();
  }
};

TEST_F(ApiMetricsTest, AreTakenWhenAskedForAndKept) {
  lab_.config.metrics_interval = 0s;
  with_gate([](ApiLab& lab, FakeGate& gate) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
    std::string path = "/sandboxes/" + std::string(made.body.at("sandboxID").as_string());
    auto first = co_await lab.ask(Verb::get, path + "/metrics");
    CO_ASSERT_TRUE(first.body.as_array().size() == 1);
    EXPECT_EQ(first.body.at(0).at("memUsed"), 50);
    EXPECT_NE(json::value(gate.token), made.body.at("envdAccessToken"));
    json::object ingress = lab.node.last_create.at("ingress").as_object();
    EXPECT_TRUE(takes(ingress, json::value(gate.token), "sandbox.read"));
    EXPECT_FALSE(takes(ingress, json::value(gate.token), "files.read"));
    // Those who poll do not wear the guest out.
    auto again = co_await lab.ask(Verb::get, path + "/metrics?start=0");
    EXPECT_GE(again.body.as_array().size(), 1u);
    EXPECT_LE(gate.asked, 2);
    auto before = co_await lab.ask(Verb::get, path + "/metrics?start=1&end=1000");
    EXPECT_TRUE(before.body.as_array().empty());
    int64_t second = first.body.at(0).at("timestampUnix").as_int64();
    auto exact = co_await lab.ask(Verb::get, path + "/metrics?start=" + std::to_string(second) +
                                                 "&end=" + std::to_string(second));
    EXPECT_GE(exact.body.as_array().size(), 1u);
    for (const char* query :
         {"?start=x", "?end=-1", "?start=9223372036854775807", "?start=5&end=4"}) {
      auto wrong = co_await lab.ask(Verb::get, path + "/metrics" + query);
      EXPECT_EQ(wrong.status, 400u) << query;
    }
    auto unknown = co_await lab.ask(Verb::get, "/sandboxes/inone/metrics");
    EXPECT_EQ(unknown.status, 404u);
  });
}

TEST_F(ApiMetricsTest, OfSeveralAreTheLatestOfEach) {
  lab_.config.metrics_interval = 0s;
  with_gate([](ApiLab& lab, FakeGate&) -> Task<void> {
    std::string one = co_await lab.create();
    std::string two = co_await lab.create();
    auto all =
        co_await lab.ask(Verb::get, "/sandboxes/metrics?sandbox_ids=" + one + ",inone," + two);
    EXPECT_EQ(all.body.at("sandboxes").as_object().size(), 2u);
    EXPECT_EQ(all.body.at("sandboxes").at(two).at("diskTotal"), 9);
    auto none = co_await lab.ask(Verb::get, "/sandboxes/metrics");
    EXPECT_EQ(none.status, 400u);
    std::string many;
    for (int i = 0; i < 101; ++i) many += "i" + std::to_string(i) + ",";
    auto too_many = co_await lab.ask(Verb::get, "/sandboxes/metrics?sandbox_ids=" + many);
    EXPECT_EQ(too_many.status, 400u);
  });
}

TEST_F(ApiMetricsTest, AreTakenInTheBackground) {
  lab_.config.metrics_interval = 1s;
  with_gate([](ApiLab& lab, FakeGate& gate) -> Task<void> {
    (void)co_await lab.create();
    std::function<bool()> twice = [&gate] { return gate.asked >= 2; };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(twice)));
  });
}

TEST_F(ApiMetricsTest, AGuestThatTalksNonsenseOrNothingHasNone) {
  lab_.config.metrics_interval = 0s;
  with_gate([](ApiLab& lab, FakeGate& gate) -> Task<void> {
    std::string path = "/sandboxes/" + co_await lab.create() + "/metrics";
    std::vector<std::string> lies{"", "[]", R"({"cpu_count":-1})", std::string(1 << 20, '[')};
    for (const std::string& lie : lies) {
      gate.said = lie;
      auto reply = co_await lab.ask(Verb::get, path);
      EXPECT_EQ(reply.status, 200u);
      EXPECT_TRUE(reply.body.as_array().empty());
    }
    gate.silent = true;
    auto reply = co_await lab.ask(Verb::get, path);
    EXPECT_EQ(reply.status, 200u);
    EXPECT_TRUE(reply.body.as_array().empty());
  });
}

}  // namespace
}  // namespace hako::test
