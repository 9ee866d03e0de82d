// Who may ask a box's daemon: grants, what they are good for, and what becomes of connections when
// they go.
#include <gmock/gmock.h>

#include "base/clock.h"
#include "support/gate_fixture.h"
#include "wire/signature.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;

constexpr uint16_t kService = ScriptedGuest::kServicePort;
constexpr std::string_view kNoToken = "unauthorized access, please provide a valid access token";

boost::json::object grant(std::string token, std::string key, std::vector<std::string> actions,
                          int64_t expires_ms = 0) {
  boost::json::object object{{"token", token}, {"key", key}};
  object["actions"] = boost::json::array(actions.begin(), actions.end());
  if (expires_ms) object["expires_ms"] = expires_ms;
  return object;
}

boost::json::object ingress_with(boost::json::array grants) {
  boost::json::object ingress;
  ingress["grants"] = std::move(grants);
  return ingress;
}

class GateGrantsTest : public GateTest {
 protected:
  template <class... Grant>
  static boost::json::array list(const Grant&... grants) {
    boost::json::array all;
    (all.push_back(grants), ...);
    return all;
  }

  Task<Result<boost::json::object>> set_grants(boost::json::array grants) {
    boost::json::object change{{"machine", "m1-1"}};
    change["egress"] = boost::json::object();
    change["ingress"] = ingress_with(std::move(grants));
    auto order = node_->order("machine.egress", std::move(change));
    co_return co_await std::move(order);
  }

  static http::Request with_token(std::string target, std::string token,
                                  http::Verb method = http::Verb::get) {
    auto request = GateTest::request(std::move(target));
    request.method = method;
    if (!token.empty()) request.fields.set("X-Access-Token", token);
    return request;
  }

  static std::string signed_url(std::string token, std::string operation = "read",
                                std::optional<int64_t> expires = {}) {
    wire::FileGrant covered{"a b.txt", operation, "user", expires};
    std::string signature = wire::sign_files(covered, token);
    for (size_t at; (at = signature.find_first_of("+/")) != std::string::npos;)
      signature.replace(at, 1, signature[at] == '+' ? "%2B" : "%2F");
    std::string url = "/files?path=a%20b.txt&username=user&signature=" + signature;
    if (expires) url += "&signature_expiration=" + std::to_string(*expires);
    return url;
  }

  /// A stream of a request that never ends, and whether it has been cut.
  Task<http::Client> hang(std::string token) {
    auto client = co_await this->client();
    auto request = with_token("/hang", std::move(token));
    auto head = co_await client.start(std::move(request));
    EXPECT_TRUE(head && head.value().status == 200);
    char begun[8];
    auto first = co_await client.read_some(asio::buffer(begun));
    EXPECT_TRUE(first && first.value() == 5);
    co_return client;
  }
  static Task<bool> is_cut(http::Client& client) {
    char buffer[8];
    auto rest = co_await client.read_some(asio::buffer(buffer));
    co_return !rest;
  }
};
#define GRANTS_TEST(name) GATE_TEST_IN(GateGrantsTest, name)

GRANTS_TEST(a_grant_lets_in_what_it_is_good_for) {
  auto all = grant("grant-of-k1", "k1", {"sandbox.exec", "files.read", "files.write"});
  auto reads = grant("grant-of-k2", "k2", {"files.read"});
  CO_ASSERT_TRUE(co_await set_grants(list(all, reads)));
  auto exec = with_token("/echo", "grant-of-k1");
  auto served = co_await ask(std::move(exec));
  EXPECT_EQ(served.status, 200u);
  auto read = with_token("/files?path=x", "grant-of-k2");
  auto file = co_await ask(std::move(read));
  EXPECT_EQ(file.body, "files path=x");
  EXPECT_EQ(file.fields["X-Shown-Token"], "token1");  // the guest sees its own, and no other
  auto write = with_token("/files?path=x", "grant-of-k2", http::Verb::post);
  auto refused = co_await ask(std::move(write));
  EXPECT_EQ(refused.status, 403u);
  EXPECT_THAT(refused.body, HasSubstr("files.write"));
  auto start = with_token("/process.Process/Start", "grant-of-k2", http::Verb::post);
  auto call = co_await ask(std::move(start));
  EXPECT_EQ(call.status, 403u);
  EXPECT_EQ(call.body, R"({"code":"permission_denied",)"
                       R"("message":"the access token is not good for sandbox.exec"})");
  auto health = with_token("/health", "");
  auto healthy = co_await ask(std::move(health));
  EXPECT_EQ(healthy.status, 204u);
}

GRANTS_TEST(what_is_no_grant_is_refused_in_the_daemons_words) {
  auto only = grant("grant-of-k1", "k1", {"files.read"});
  CO_ASSERT_TRUE(co_await set_grants(list(only)));
  struct Case {
    std::string target, token;
    http::Verb method;
    std::string said;
  };
  const Case cases[] = {
      {"/envs", "", http::Verb::get, std::string(kNoToken)},
      {"/envs", "grant-of-k2", http::Verb::get, std::string(kNoToken)},
      // The guest's own is nobody's.
      {"/envs", "token1", http::Verb::get, std::string(kNoToken)},
      {"/process.Process/List", "token1", http::Verb::post, std::string(kNoToken)},
      {"/filesystem.Filesystem/Stat", "", http::Verb::post, std::string(kNoToken)},
      {"/files?path=x", "", http::Verb::get, "missing signature query parameter"},
      {"/files?path=x", "token1", http::Verb::get,
       "access token present in header but does not match"},
      {"/files?path=x&signature=v1_x", "", http::Verb::post, "invalid signature"},
  };
  for (const Case& one : cases) {
    auto request = with_token(one.target, one.token, one.method);
    auto response = co_await ask(std::move(request));
    EXPECT_EQ(response.status, 401u) << one.target;
    EXPECT_EQ(response.body, R"({"code":401,"message":")" + one.said + "\"}") << one.target;
    EXPECT_EQ(response.fields["Access-Control-Allow-Origin"], "*");
  }
  CO_ASSERT_TRUE(co_await set_grants(list()));
  auto nobody = with_token("/files?path=x", "grant-of-k1");
  auto refused = co_await ask(std::move(nobody));
  EXPECT_EQ(refused.status, 401u);
}

GRANTS_TEST(without_a_list_the_daemon_judges_itself_and_without_a_token_all_is_open) {
  auto own = with_token("/guarded", "token1");
  auto let_in = co_await ask(std::move(own));
  EXPECT_EQ(let_in.status, 204u);
  auto wrong = with_token("/guarded", "token2");
  auto refused = co_await ask(std::move(wrong));
  EXPECT_EQ(refused.status, 401u);
  auto ingress = ingress_with(list(grant("grant-of-k1", "k1", {"files.read"})));
  CO_ASSERT_TRUE(co_await node_->publish("m1-1", "box1", "", std::move(ingress)));
  auto open = with_token("/echo", "");
  auto served = co_await ask(std::move(open));
  EXPECT_EQ(served.status, 200u);
}

GRANTS_TEST(a_signature_is_of_a_grant) {
  auto now = to_unix_ms(WallClock::now()) / 1000;
  auto reads = grant("grant-of-k1", "k1", {"files.read"});
  auto expired = grant("grant-of-k2", "k2", {"files.read"}, 1000);
  CO_ASSERT_TRUE(co_await set_grants(list(reads, expired)));
  struct Case {
    std::string url;
    http::Verb method;
    unsigned status;
    std::string said;
  };
  const Case cases[] = {
      {signed_url("grant-of-k1"), http::Verb::get, 200, "files path=a%20b.txt&username=user"},
      {signed_url("grant-of-k1", "read", now + 60), http::Verb::get, 200,
       "files path=a%20b.txt&username=user"},
      {signed_url("grant-of-k1", "read", now - 60), http::Verb::get, 401, "already expired"},
      {signed_url("grant-of-k1", "write"), http::Verb::post, 403, "files.write"},
      {signed_url("grant-of-k1", "read"), http::Verb::post, 401, "invalid signature"},
      {signed_url("grant-of-k1") + "&signature_expiration=99999999999", http::Verb::get, 401,
       "invalid signature"},
      {signed_url("grant-of-k2"), http::Verb::get, 401, "the access token has expired"},
      {signed_url("token1"), http::Verb::get, 401, "invalid signature"},
  };
  for (const Case& one : cases) {
    // Once for a box that is named, once for whichever it fits.
    for (bool named : {true, false}) {
      auto request = with_token(one.url, "", one.method);
      if (!named) request.fields.erase("E2b-Sandbox-Id");
      auto response = co_await ask(std::move(request));
      EXPECT_EQ(response.status, one.status) << one.url << " " << named;
      EXPECT_THAT(response.body, HasSubstr(one.said)) << one.url << " " << named;
      if (one.status == 200) {
        EXPECT_EQ(response.fields["X-Shown-Token"], "token1");
      }
    }
  }
  // A token in the header is what counts, as for the daemon.
  auto both = with_token(signed_url("grant-of-k1"), "grant-of-k3");
  auto refused = co_await ask(std::move(both));
  EXPECT_EQ(refused.status, 401u);
}

GRANTS_TEST(streams_end_with_their_grant_and_others_go_on) {
  auto one = grant("grant-of-k1", "k1", {"sandbox.exec", "files.read"});
  auto two = grant("grant-of-k2", "k2", {"sandbox.exec"});
  CO_ASSERT_TRUE(co_await set_grants(list(one, two)));
  auto first = co_await hang("grant-of-k1");
  auto second = co_await hang("grant-of-k2");
  auto third = co_await hang("grant-of-k1");
  // A new one beside them cuts nothing.
  auto three = grant("grant-of-k3", "k3", {"sandbox.exec"});
  CO_ASSERT_TRUE(co_await set_grants(list(three, two, one)));
  EXPECT_EQ(guest_->established_connections(49983), 3);
  // Narrower than what it does, though not gone.
  auto narrowed = grant("grant-of-k1", "k1", {"files.read"});
  CO_ASSERT_TRUE(co_await set_grants(list(narrowed, two)));
  EXPECT_TRUE(co_await is_cut(first));
  EXPECT_TRUE(co_await is_cut(third));
  EXPECT_EQ(guest_->established_connections(49983), 1);
  CO_ASSERT_TRUE(co_await set_grants(list()));
  EXPECT_TRUE(co_await is_cut(second));
  while (guest_->open_connections(49983) > 0) co_await sleep_for(1ms);
}

GRANTS_TEST(a_machine_that_is_published_again_keeps_only_what_still_holds) {
  auto one = grant("grant-of-k1", "k1", {"sandbox.exec"});
  auto two = grant("grant-of-k2", "k2", {"sandbox.exec"});
  CO_ASSERT_TRUE(co_await set_grants(list(one, two)));
  auto first = co_await hang("grant-of-k1");
  auto second = co_await hang("grant-of-k2");
  auto ingress = ingress_with(list(two));
  CO_ASSERT_TRUE(co_await node_->publish("m1-1", "box1", "token1", std::move(ingress)));
  EXPECT_TRUE(co_await is_cut(first));
  EXPECT_EQ(guest_->established_connections(49983), 1);
}

GRANTS_TEST(streams_end_when_their_grant_expires) {
  auto soon = to_unix_ms(WallClock::now()) + 1500;
  auto late = soon + 3600'000;
  auto one = grant("grant-of-k1", "k1", {"sandbox.exec"}, late);
  auto two = grant("grant-of-k2", "k2", {"sandbox.exec"}, soon);
  CO_ASSERT_TRUE(co_await set_grants(list(one, two)));
  auto lasting = co_await hang("grant-of-k1");
  auto ending = co_await hang("grant-of-k2");
  EXPECT_TRUE(co_await is_cut(ending));
  EXPECT_GE(to_unix_ms(WallClock::now()), soon);
  EXPECT_EQ(guest_->established_connections(49983), 1);
  auto again = with_token("/echo", "grant-of-k2");
  auto refused = co_await ask(std::move(again));
  EXPECT_EQ(refused.status, 401u);
  EXPECT_THAT(refused.body, HasSubstr("expired"));
}

GRANTS_TEST(each_request_of_a_connection_is_judged_anew) {
  auto only = grant("grant-of-k1", "k1", {"sandbox.exec"});
  CO_ASSERT_TRUE(co_await set_grants(list(only)));
  auto client = co_await this->client();
  auto first = with_token("/echo", "grant-of-k1");
  auto served = co_await client.exchange(std::move(first));
  CO_ASSERT_TRUE(served);
  EXPECT_EQ(served.value().status, 200u);
  auto unshown = with_token("/echo", "");
  auto without = co_await client.exchange(std::move(unshown));
  CO_ASSERT_TRUE(without);
  EXPECT_EQ(without.value().status, 401u);
  CO_ASSERT_TRUE(co_await set_grants(list()));
  auto last = with_token("/echo", "grant-of-k1");
  auto refused = co_await client.exchange(std::move(last));
  CO_ASSERT_TRUE(refused);
  EXPECT_EQ(refused.value().status, 401u);
  EXPECT_EQ(guest_->open_connections(49983), 1);  // the gate's own, kept for whoever comes next
}

GRANTS_TEST(a_connection_that_is_used_again_is_nobodys_before) {
  auto one = grant("grant-of-k1", "k1", {"sandbox.exec"});
  auto two = grant("grant-of-k2", "k2", {"sandbox.exec"});
  CO_ASSERT_TRUE(co_await set_grants(list(one, two)));
  auto first = with_token("/echo", "grant-of-k1");
  auto served = co_await ask(std::move(first));
  EXPECT_EQ(served.status, 200u);
  auto stream = co_await hang("grant-of-k2");
  EXPECT_EQ(guest_->open_connections(49983), 1);  // the same
  CO_ASSERT_TRUE(co_await set_grants(list(two)));
  EXPECT_EQ(guest_->established_connections(49983), 1);
  auto again = with_token("/echo", "grant-of-k2");
  auto answered = co_await ask(std::move(again));
  EXPECT_EQ(answered.status, 200u);
  EXPECT_EQ(guest_->established_connections(49983), 2);
  CO_ASSERT_TRUE(co_await set_grants(list()));
  EXPECT_TRUE(co_await is_cut(stream));
}

GRANTS_TEST(an_upload_under_way_ends_with_its_grant) {
  auto only = grant("grant-of-k1", "k1", {"files.write"});
  CO_ASSERT_TRUE(co_await set_grants(list(only)));
  auto client = co_await this->client();
  auto request = with_token("/files?path=x", "grant-of-k1", http::Verb::post);
  CO_ASSERT_TRUE(co_await client.begin(std::move(request)));
  CO_ASSERT_TRUE(co_await client.write(asio::buffer("first", 5)));
  while (guest_->established_connections(49983) == 0) co_await sleep_for(1ms);
  CO_ASSERT_TRUE(co_await set_grants(list()));
  auto head = co_await client.read_head();
  CO_ASSERT_TRUE(head);
  EXPECT_EQ(head.value().status, 401u);
  while (guest_->open_connections(49983) > 0) co_await sleep_for(1ms);
}

GRANTS_TEST(ports_with_a_token_take_a_grant_for_ports_in_its_stead) {
  auto for_ports = grant("grant-of-k1", "k1", {"sandbox.ports"});
  auto for_commands = grant("grant-of-k2", "k2", {"sandbox.exec"});
  auto also_for_ports = grant("grant-of-k3", "k3", {"sandbox.ports"});
  boost::json::object ingress = ingress_with(list(for_ports, for_commands, also_for_ports));
  ingress["traffic_token"] = "let-me-in";
  boost::json::object change{{"machine", "m1-1"}};
  change["egress"] = boost::json::object();
  change["ingress"] = ingress;
  auto order = node_->order("machine.egress", std::move(change));
  CO_ASSERT_TRUE(co_await std::move(order));
  auto ask_port = [this](std::string token, std::string target) {
    auto request = GateTest::request(target, "box1", kService);
    request.fields.set("e2b-traffic-access-token", token);
    return request;
  };
  auto shared = ask_port("let-me-in", "/seen");
  auto by_token = co_await ask(std::move(shared));
  EXPECT_EQ(by_token.status, 403u);
  auto own = ask_port("grant-of-k1", "/seen");
  auto by_grant = co_await ask(std::move(own));
  EXPECT_EQ(by_grant.body, "127.0.0.1|||");
  auto unfit = ask_port("grant-of-k2", "/seen");
  auto refused = co_await ask(std::move(unfit));
  EXPECT_EQ(refused.status, 403u);
  EXPECT_THAT(refused.body, HasSubstr("sandbox.ports"));
  // The grant goes, and what came by it ends. What came by another does not.
  auto by_grant_stream = co_await this->client();
  auto hanging = ask_port("grant-of-k1", "/hang");
  CO_ASSERT_TRUE(co_await by_grant_stream.start(std::move(hanging)));
  auto by_other_stream = co_await this->client();
  auto lasting = ask_port("grant-of-k3", "/hang");
  CO_ASSERT_TRUE(co_await by_other_stream.start(std::move(lasting)));
  change = {{"machine", "m1-1"}};
  change["egress"] = boost::json::object();
  ingress["grants"] = list(also_for_ports);
  change["ingress"] = ingress;
  auto narrow = node_->order("machine.egress", std::move(change));
  CO_ASSERT_TRUE(co_await std::move(narrow));
  char buffer[64];
  auto rest = co_await by_grant_stream.read_some(asio::buffer(buffer));
  while (rest && rest.value() > 0) rest = co_await by_grant_stream.read_some(asio::buffer(buffer));
  EXPECT_FALSE(rest);
  EXPECT_EQ(guest_->established_connections(kService), 1);
}

GRANTS_TEST(lists_that_are_none_are_refused_and_change_nothing) {
  auto only = grant("grant-of-k1", "k1", {"sandbox.exec"});
  CO_ASSERT_TRUE(co_await set_grants(list(only)));
  boost::json::array many;
  for (int i = 0; i < 65; ++i)
    many.push_back(grant("grant-of-" + std::to_string(i), "k", {"files.read"}));
  boost::json::array fits(many.begin(), many.end() - 1);
  std::vector<boost::json::array> bad;
  bad.push_back(list(grant("grant-of-k1", "k1", {"files.fly"})));
  bad.push_back(list(grant("grant-of-k1", "k1", {})));
  bad.push_back(list(grant("", "k1", {"files.read"})));
  bad.push_back(list(grant("grant of k1", "k1", {"files.read"})));
  bad.push_back(list(grant(std::string(129, 'a'), "k1", {"files.read"})));
  bad.push_back(list(grant("grant-of-k1", std::string(65, 'k'), {"files.read"})));
  bad.push_back(list(grant("grant-of-k1", "k1", {"files.read"}),
                     grant("grant-of-k1", "k2", {"files.read"})));
  bad.push_back(list("grant-of-k1"));
  bad.push_back(many);
  for (const auto& one : bad) {
    auto taken = co_await set_grants(one);
    EXPECT_FALSE(taken) << one;
  }
  auto still = with_token("/echo", "grant-of-k1");
  auto served = co_await ask(std::move(still));
  EXPECT_EQ(served.status, 200u);
  CO_ASSERT_TRUE(co_await set_grants(fits));
}

class GateGrantsWallTest : public GateGrantsTest {
 protected:
  std::string gate_program() const override { return HAKO_GATE_TEST_PROGRAM; }
  std::vector<std::string> gate_environment() const override {
    return {std::string("HAKO_TEST_WITHOUT_WALL=") + missing_};
  }
  /// What a wrong token gets: of a daemon that does not look at it, and of one that does.
  Task<void> try_wrong_token() {
    auto only = grant("grant-of-k1", "k1", {"sandbox.exec"});
  CO_ASSERT_TRUE(co_await set_grants(list(only)));
    auto open = with_token("/echo", "grant-of-k2");
    auto by_gate = co_await ask(std::move(open));
    from_careless_ = by_gate.status;
    auto guarded = with_token("/guarded", "grant-of-k2");
    auto by_daemon = co_await ask(std::move(guarded));
    from_careful_ = by_daemon.status;
  }

  const char* missing_ = "";
  unsigned from_careless_ = 0, from_careful_ = 0;
};

TEST_F(GateGrantsWallTest, of_two_walls_before_a_daemon_each_alone_is_enough) {
  run(try_wrong_token());
  EXPECT_EQ(from_careless_, 401u);
  EXPECT_EQ(from_careful_, 401u);
}

TEST_F(GateGrantsWallTest, without_the_gates_a_wrong_token_reaches_a_daemon_that_does_not_look) {
  missing_ = "grants";
  run(try_wrong_token());
  EXPECT_EQ(from_careless_, 200u);
  EXPECT_EQ(from_careful_, 401u);
}

}  // namespace
}  // namespace hako::test
