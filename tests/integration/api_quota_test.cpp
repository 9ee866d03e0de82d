// What tenants may have in all, and whose turn it is, as the API's clients see it.
#include <algorithm>

#include "api/now.h"
#include "api/tenants.h"
#include "store/store.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

using ApiQuotaTest = ApiFixture;

/// The key of an owner of the tenant.
std::string tenant_with(ApiLab& lab, const std::string& tenant, const std::string& quota) {
  std::string key = put_key(lab, "key-" + tenant, tenant, "owner");
  put_quota(lab, tenant, quota);
  return key;
}

constexpr char kBox[] = R"({"templateID":"base"})";

Task<void> create_into(ApiLab& lab, std::string key, std::string body, std::vector<Reply>& replies) {
  Reply reply = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", std::move(body),
                                          std::move(key));
  replies.push_back(std::move(reply));
}

long count_status(const std::vector<Reply>& replies, unsigned status) {
  return std::count_if(replies.begin(), replies.end(),
                       [status](const Reply& reply) { return reply.status == status; });
}

void expect_refused(const Reply& reply, std::string_view rule) {
  EXPECT_EQ(reply.status, 429u) << reply.message();
  EXPECT_NE(reply.message().find("(rule " + std::string(rule) + ")"), std::string::npos)
      << reply.message();
  EXPECT_GE(std::atoi(std::string(reply.fields["Retry-After"]).c_str()), 1);
}

TEST_F(ApiQuotaTest, TheLastPlaceIsGivenOnce) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"boxes":3})");
    lab.node.create_takes = 20ms;
    std::vector<Reply> replies;
    TaskGroup tasks(lab.loop.get_executor());
    for (int i = 0; i < 8; ++i) tasks.spawn("create", create_into(lab, key, kBox, replies));
    std::function<bool()> all = [&] { return replies.size() == 8; };
    EXPECT_TRUE(co_await ApiLab::eventually(all));
    EXPECT_EQ(count_status(replies, 201), 3);
    for (const Reply& reply : replies) {
      if (reply.status != 201) expect_refused(reply, "quota.boxes");
    }
    // Another tenant is not held to it.
    EXPECT_EQ((co_await lab.ask(Verb::post, "/v2/sandboxes", kBox)).status, 201u);
    // One that ends makes room for one.
    for (const Reply& reply : replies) {
      if (reply.status != 201) continue;
      std::string path = "/sandboxes/" + std::string(reply.body.at("sandboxID").as_string());
      EXPECT_EQ((co_await lab.ask_with_key(Verb::delete_, path, "", key)).status, 204u);
      break;
    }
    replies.clear();
    co_await create_into(lab, key, kBox, replies);
    co_await create_into(lab, key, kBox, replies);
    EXPECT_EQ(count_status(replies, 201), 1);
    EXPECT_EQ(count_status(replies, 429), 1);
    co_await tasks.stop();
  });
}

TEST_F(ApiQuotaTest, SizesCountAsAskedForOrAsTheTemplateHasThem) {
  with_api([](ApiLab& lab) -> Task<void> {
    // The template has 256 MiB, one CPU, 4096 MiB of disk.
    std::string key = tenant_with(lab, "acme", R"({"memoryMB":1024,"vcpus":3,"diskMB":12288})");
    std::vector<Reply> replies;
    co_await create_into(lab, key, R"({"templateID":"base","memoryMB":768})", replies);
    co_await create_into(lab, key, R"({"templateID":"base","memoryMB":512})", replies);
    co_await create_into(lab, key, kBox, replies);
    co_await create_into(lab, key, kBox, replies);
    CO_ASSERT_TRUE(replies.size() == 4);
    EXPECT_EQ(replies[0].status, 201u);
    expect_refused(replies[1], "quota.memory");
    EXPECT_EQ(replies[2].status, 201u);
    expect_refused(replies[3], "quota.memory");
    put_quota(lab, "acme", R"({"vcpus":3,"diskMB":12288})");
    replies.clear();
    co_await create_into(lab, key, R"({"templateID":"base","cpuCount":2})", replies);
    co_await create_into(lab, key, kBox, replies);
    co_await create_into(lab, key, kBox, replies);
    CO_ASSERT_TRUE(replies.size() == 3);
    expect_refused(replies[0], "quota.vcpus");
    EXPECT_EQ(replies[1].status, 201u);
    expect_refused(replies[2], "quota.vcpus");
    put_quota(lab, "acme", R"({"diskMB":12288})");
    replies.clear();
    co_await create_into(lab, key, kBox, replies);
    expect_refused(replies.at(0), "quota.disk");
  });
}

TEST_F(ApiQuotaTest, AFailedCreateTakesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"boxes":1})");
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.create") answer = Error(ErrorCode::resource_exhausted, "no slot is left");
      return answer;
    };
    std::vector<Reply> replies;
    for (int i = 0; i < 3; ++i) co_await create_into(lab, key, kBox, replies);
    for (const Reply& reply : replies) {
      EXPECT_NE(reply.message().find("no slot"), std::string::npos) << reply.message();
    }
    lab.node.before = nullptr;
    co_await create_into(lab, key, kBox, replies);
    EXPECT_EQ(replies.back().status, 201u);
  });
}

TEST_F(ApiQuotaTest, CreatesPerMinute) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"createsPerMinute":2})");
    std::vector<Reply> replies;
    for (int i = 0; i < 3; ++i) co_await create_into(lab, key, kBox, replies);
    EXPECT_EQ(count_status(replies, 201), 2);
    expect_refused(replies.back(), "quota.creates");
    EXPECT_GT(std::atoi(std::string(replies.back().fields["Retry-After"]).c_str()), 20);
  });
}

TEST_F(ApiQuotaTest, ARefusedCreateIsNoneOfTheMinutes) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"createsPerMinute":2,"boxes":1})");
    std::vector<Reply> replies;
    for (int i = 0; i < 4; ++i) co_await create_into(lab, key, kBox, replies);
    CO_ASSERT_TRUE(replies.front().status == 201);
    expect_refused(replies.back(), "quota.boxes");
    std::string path = "/sandboxes/" + std::string(replies.front().body.at("sandboxID").as_string());
    EXPECT_EQ((co_await lab.ask_with_key(Verb::delete_, path, "", key)).status, 204u);
    co_await create_into(lab, key, kBox, replies);
    EXPECT_EQ(replies.back().status, 201u) << replies.back().message();
    put_quota(lab, "acme", R"({"createsPerMinute":2})");
    co_await create_into(lab, key, kBox, replies);
    expect_refused(replies.back(), "quota.creates");
  });
}

/// A connection whose request promises a body that does not come.
Task<http::Stream> create_without_body(ApiLab& lab, std::string key) {
  auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
  if (!stream) throw std::runtime_error(stream.error().message());
  std::string head = "POST /v2/sandboxes HTTP/1.1\r\nHost: api\r\nX-API-KEY: " + key +
                     "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
  co_await asio::async_write(stream.value(), asio::buffer(head), asio::use_awaitable);
  co_return std::move(stream).value();
}

TEST_F(ApiQuotaTest, BodiesThatDoNotComeAreInNobodyElsesWay) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string greedy = tenant_with(lab, "greedy", "{}"), small = tenant_with(lab, "small", "{}");
    constexpr size_t kMoreThanAnyBoundOfAll = 600;
    std::vector<http::Stream> held;
    while (held.size() < kMoreThanAnyBoundOfAll) {
      held.push_back(co_await create_without_body(lab, greedy));
    }
    // The server has looked at all of them when it has refused one.
    Reply last = co_await lab.ask_with_key(Verb::get, "/v2/sandboxes", "", greedy);
    expect_refused(last, "fairness.calls");
    Reply others = co_await lab.ask_with_key(Verb::get, "/v2/sandboxes", "", small);
    EXPECT_EQ(others.status, 200u) << others.message();
    std::vector<Reply> replies;
    co_await create_into(lab, small, kBox, replies);
    EXPECT_EQ(replies.back().status, 201u) << replies.back().message();
  });
}

TEST_F(ApiQuotaTest, AQuotaThatCannotBeReadIsNoLicence) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"boxs":1})");
    std::vector<Reply> replies;
    co_await create_into(lab, key, kBox, replies);
    EXPECT_EQ(replies.back().status, 500u);
    EXPECT_EQ(replies.back().message().find("boxs"), std::string::npos) << "not the client's";
  });
}

class ApiTurnsTest : public ApiQuotaTest {
 protected:
  ApiTurnsTest() {
    lab_.config.creates_at_once = 2;
    lab_.config.creates_waiting = 3;
    lab_.node.create_takes = 200ms;
  }
};

long creates_at_node(const ApiLab& lab) {
  return std::count(lab.node.calls.begin(), lab.node.calls.end(), "box.create");
}

TEST_F(ApiTurnsTest, AnotherTenantsCreateDoesNotWaitBehindAGreedyOnes) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string greedy = tenant_with(lab, "greedy", "{}"), small = tenant_with(lab, "small", "{}");
    std::vector<Reply> of_greedy, of_small;
    TaskGroup tasks(lab.loop.get_executor());
    for (int i = 0; i < 7; ++i) tasks.spawn("create", create_into(lab, greedy, kBox, of_greedy));
    // One works, three wait, three have been refused.
    std::function<bool()> refused = [&] { return of_greedy.size() == 3; };
    EXPECT_TRUE(co_await ApiLab::eventually(refused));
    for (const Reply& reply : of_greedy) expect_refused(reply, "fairness.creates");
    co_await create_into(lab, small, kBox, of_small);
    EXPECT_EQ(of_small.back().status, 201u);
    EXPECT_LT(count_status(of_greedy, 201), 4) << "it went before those that waited";
    std::function<bool()> all = [&] { return of_greedy.size() == 7; };
    EXPECT_TRUE(co_await ApiLab::eventually(all));
    EXPECT_EQ(count_status(of_greedy, 201), 4);
    co_await tasks.stop();
  });
}

TEST_F(ApiTurnsTest, AClientThatHasGoneIsSkipped) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"boxes":4})");
    std::vector<Reply> replies, never;
    TaskGroup tasks(lab.loop.get_executor()), gone(lab.loop.get_executor());
    tasks.spawn("create", create_into(lab, key, kBox, replies));
    std::function<bool()> first = [&] { return creates_at_node(lab) == 1; };
    EXPECT_TRUE(co_await ApiLab::eventually(first));
    for (int i = 0; i < 2; ++i) gone.spawn("create", create_into(lab, key, kBox, never));
    co_await sleep_for(50ms);
    co_await gone.stop();
    co_await create_into(lab, key, kBox, replies);
    EXPECT_EQ(creates_at_node(lab), 2) << "the first and the last";
    EXPECT_EQ(count_status(replies, 201), 2);
    EXPECT_TRUE(never.empty());
    // They hold no places in the quota.
    co_await create_into(lab, key, kBox, replies);
    co_await create_into(lab, key, kBox, replies);
    EXPECT_EQ(count_status(replies, 201), 4);
    co_await tasks.stop();
  });
}

using ApiTrafficTest = ApiOpenFixture;

/// While its connections are open.
void tell_moved(ApiLab& lab, const std::string& id, int64_t bytes) {
  json::object record = {
      {"time_ms", 1}, {"kind", "tcp"}, {"verdict", "moved"}, {"bytes_out", bytes}};
  json::array records;
  records.push_back(std::move(record));
  lab.node.tell_egress(id, std::move(records));
}

bool is_open(const ApiLab& lab, const std::string& id) {
  return policy::may_connect(lab.node.policy_of(id), {.name = "example.com", .port = 443}).allowed;
}

constexpr char kOpenBox[] = R"({"templateID":"base","allow_internet_access":true})";

Task<std::string> open_box(ApiLab& lab, std::string key) {
  Reply reply = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kOpenBox, std::move(key));
  EXPECT_EQ(reply.status, 201u) << reply.message();
  co_return std::string(reply.body.at("sandboxID").as_string());
}

TEST_F(ApiTrafficTest, ADaysBytesAreSharedByATenantsBoxesAndThenNothingGoesOut) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"egressBytesPerDay":1000})");
    std::string other_key = tenant_with(lab, "other", R"({"egressBytesPerDay":1000})");
    std::string first = co_await open_box(lab, key);
    std::string others = co_await open_box(lab, other_key);
    EXPECT_TRUE(is_open(lab, first));
    tell_moved(lab, first, 600);
    std::string second = co_await open_box(lab, key);
    // A limit to what is left would stay when the day is over.
    EXPECT_EQ(lab.node.policy_of(second).limits.bytes_total, 0);
    EXPECT_TRUE(is_open(lab, second));
    tell_moved(lab, second, 400);
    std::function<bool()> closed = [&] { return !is_open(lab, first) && !is_open(lab, second); };
    EXPECT_TRUE(co_await ApiLab::eventually(closed));
    auto decision =
        policy::may_connect(lab.node.policy_of(first), {.name = "example.com", .port = 443});
    EXPECT_EQ(decision.rule, "tenant quota.level");
    std::string third = co_await open_box(lab, key);
    EXPECT_FALSE(is_open(lab, third));
    EXPECT_TRUE(is_open(lab, others)) << "another tenant's are its own";

    // With more of it they are open again, once something has been counted.
    put_quota(lab, "acme", R"({"egressBytesPerDay":5000})");
    tell_moved(lab, second, 1);
    std::function<bool()> open = [&] { return is_open(lab, first) && is_open(lab, third); };
    EXPECT_TRUE(co_await ApiLab::eventually(open));

    // Records of what there was are no traffic: it has been told already.
    json::object record = {{"time_ms", 1},       {"kind", "tcp"}, {"verdict", "ended"},
                           {"bytes_out", 90000}, {"bytes_in", 0}, {"connection", 1}};
    json::array records;
    records.push_back(std::move(record));
    lab.node.tell_egress(second, std::move(records));
    tell_moved(lab, others, 1000);
    std::function<bool()> others_closed = [&] { return !is_open(lab, others); };
    EXPECT_TRUE(co_await ApiLab::eventually(others_closed));
    EXPECT_TRUE(is_open(lab, second));
  });
}

TEST_F(ApiTrafficTest, DaysThatNoQuotaIsAboutAreForgotten) {
  with_api([](ApiLab& lab) -> Task<void> {
    tenant_with(lab, "acme", "{}");
    auto store = store::open_sqlite_store(lab.config.database());
    CO_ASSERT_TRUE(store);
    store::TenantStore& tenants = store.value()->tenants();
    std::string today = api::traffic_period(api::unix_now_ms());
    co_await lab.stop_api();
    EXPECT_TRUE(tenants.add_traffic("acme", "2020-01-01", 5));
    EXPECT_TRUE(tenants.add_traffic("acme", today, 7));
    CO_ASSERT_TRUE(co_await lab.start_api());
    std::function<bool()> forgotten = [&] {
      return tenants.traffic_of("acme", "2020-01-01").value() == 0;
    };
    EXPECT_TRUE(co_await ApiLab::eventually(forgotten));
    EXPECT_EQ(tenants.traffic_of("acme", today).value(), 7);
  });
}

TEST_F(ApiTrafficTest, TheDayIsRememberedOverARestart) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = tenant_with(lab, "acme", R"({"egressBytesPerDay":1000})");
    std::string box = co_await open_box(lab, key);
    tell_moved(lab, box, 1000);
    std::function<bool()> closed = [&] { return !is_open(lab, box); };
    EXPECT_TRUE(co_await ApiLab::eventually(closed));
    co_await lab.stop_api();
    CO_ASSERT_TRUE(co_await lab.start_api());
    EXPECT_TRUE(co_await lab.eventually_status("/v2/sandboxes", 200));
    std::string next = co_await open_box(lab, key);
    EXPECT_FALSE(is_open(lab, next));
    EXPECT_FALSE(is_open(lab, box));
  });
}

}  // namespace
}  // namespace hako::test
