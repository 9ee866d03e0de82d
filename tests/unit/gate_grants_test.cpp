#include "gate/grants.h"

#include <gtest/gtest.h>

#include "gate/machine_table.h"

namespace hako::gate {
namespace {

using policy::Action;

const WallTime kNow = from_unix_ms(1'800'000'000'000);

http::RequestHead head(http::Verb method, std::string target, std::string token = {}) {
  http::RequestHead head;
  head.method = method;
  head.target = std::move(target);
  if (!token.empty()) head.fields.set("X-Access-Token", token);
  return head;
}

Grants some() {
  return {{"grant-of-k1", "k1", {Action::files_read, Action::sandbox_exec}, {}},
          {"grant-of-k2", "k2", {Action::files_write}, kNow + std::chrono::seconds(1)},
          {"grant-of-k3", "k3", {Action::files_read}, kNow}};
}

TEST(GrantsTest, AreReadFromJson) {
  auto list = boost::json::parse(
      R"([{"token":"grant-of-k1","key":"k1.00ff","actions":["files.read","sandbox.ports"],)"
      R"("expires_ms":1800000000000},{"token":"grant-of-k2","actions":["files.write"],"more":1}])");
  auto grants = parse_grants(list);
  ASSERT_TRUE(grants) << grants.error().message();
  ASSERT_EQ(grants.value().size(), 2u);
  EXPECT_EQ(grants.value()[0].key, "k1.00ff");
  EXPECT_EQ(grants.value()[0].actions, (policy::ActionSet{Action::files_read, Action::sandbox_ports}));
  EXPECT_EQ(grants.value()[0].expires, kNow);
  EXPECT_EQ(grants.value()[1].key, "");
  EXPECT_FALSE(grants.value()[1].expires);
  EXPECT_TRUE(parse_grants(boost::json::array()));
}

TEST(GrantsTest, ARequestIsJudgedByTheGrantThatItShows) {
  struct Case {
    http::Verb method;
    const char *target, *token;
    unsigned refused;
    const char* key;
  };
  const Case cases[] = {
      {http::Verb::get, "/files?path=x", "grant-of-k1", 0, "k1"},
      {http::Verb::post, "/files?path=x", "grant-of-k1", 403, "k1"},
      {http::Verb::post, "/files?path=x", "grant-of-k2", 0, "k2"},
      {http::Verb::get, "/files?path=x", "grant-of-k3", 401, "k3"},  // at that very moment
      {http::Verb::post, "/process.Process/Start", "grant-of-k1", 0, "k1"},
      {http::Verb::post, "/process.Process/Start", "grant-of-k2", 403, "k2"},
      {http::Verb::post, "/process.Process/Start", "grant-of-k", 401, ""},
      {http::Verb::get, "/metrics", "grant-of-k1", 403, "k1"},
      {http::Verb::head, "/files?path=x", "grant-of-k1", 0, "k1"},
      {http::Verb::head, "/files?path=x", "", 401, ""},
      {http::Verb::get, "/health", "", 0, ""},
      {http::Verb::post, "/health", "", 401, ""},
  };
  for (const Case& one : cases) {
    auto judged = judge_daemon_request(head(one.method, one.target, one.token), some(), kNow);
    EXPECT_EQ(judged.refused, one.refused) << one.target << " " << one.token;
    EXPECT_EQ(judged.key, one.key) << one.target << " " << one.token;
    EXPECT_EQ(judged.by.has_value(), one.refused == 0 && *one.key != 0);
    EXPECT_EQ(judged.reason.empty(), one.refused == 0);
  }
}

TEST(GrantsTest, AnAdmissionHoldsAsLongAsItsGrantIsThereAndGoodForIt) {
  Admission reads{"grant-of-k1", "k1", Action::files_read, {}};
  EXPECT_TRUE(still_hold(some(), reads, kNow));
  Admission writes{"grant-of-k1", "k1", Action::files_write, {}};
  EXPECT_FALSE(still_hold(some(), writes, kNow));
  EXPECT_FALSE(still_hold({}, reads, kNow));
  Admission ends{"grant-of-k2", "k2", Action::files_write, {}};
  EXPECT_TRUE(still_hold(some(), ends, kNow));
  EXPECT_FALSE(still_hold(some(), ends, kNow + std::chrono::seconds(1)));
}

TEST(GrantsTest, TheDaemonSeesItsOwnTokenAndNoSignature) {
  auto request = head(http::Verb::get,
                      "/files?a=1&signature=v1_x&b=%26&s%69gnature_expiration=5&signature&c", "g");
  request.fields.insert("x-access-token", "second");
  show_own_token(request, "own");
  EXPECT_EQ(request.target, "/files?a=1&b=%26&c");
  EXPECT_EQ(request.header("X-Access-Token"), "own");
  EXPECT_EQ(request.fields.count("X-Access-Token"), 1u);
  auto bare = head(http::Verb::get, "/files?signature=v1_x");
  show_own_token(bare, "own");
  EXPECT_EQ(bare.target, "/files");
  auto other = head(http::Verb::post, "/process.Process/Start?signature=x");
  show_own_token(other, "own");
  EXPECT_EQ(other.target, "/process.Process/Start?signature=x");
}

TEST(GrantsTest, PortsTakeTheirTokenOrAGrantForPorts) {
  Ingress ingress;
  auto request = head(http::Verb::get, "/");
  EXPECT_TRUE(judge_port_request(request, ingress, kNow).passes());
  ingress.traffic_token = "let-me-in";
  EXPECT_EQ(judge_port_request(request, ingress, kNow).refused, 403u);
  request.fields.set("e2b-traffic-access-token", "let-me-in");
  EXPECT_TRUE(judge_port_request(request, ingress, kNow).passes());
  request.fields.set("e2b-traffic-access-token", "grant-of-k1");
  EXPECT_EQ(judge_port_request(request, ingress, kNow).refused, 403u);
  ingress.grants = Grants{{"grant-of-k1", "k1", {Action::sandbox_ports}, {}},
                          {"grant-of-k2", "k2", {Action::sandbox_ports}, kNow}};
  auto judged = judge_port_request(request, ingress, kNow);
  ASSERT_TRUE(judged.by);
  // What everybody shares would outlive the key of whoever was given it.
  request.fields.set("e2b-traffic-access-token", "let-me-in");
  EXPECT_EQ(judge_port_request(request, ingress, kNow).refused, 403u);
  EXPECT_EQ(judged.by->action, Action::sandbox_ports);
  request.fields.set("e2b-traffic-access-token", "grant-of-k2");
  EXPECT_EQ(judge_port_request(request, ingress, kNow).refused, 403u);
}

TEST(GrantsTest, AServiceIsLentTheDaemonsTokenByWhoMayRunCommands) {
  Machine machine;
  machine.access_token = "own";
  machine.ingress.grants = some();
  auto runs = head(http::Verb::post, "/execute", "grant-of-k1");
  auto by = lend_own_token(runs, machine, kNow);
  ASSERT_TRUE(by);
  EXPECT_EQ(by->key, "k1");
  EXPECT_EQ(runs.header("X-Access-Token"), "own");
  // What else is a grant is of no use inside, and could be used outside by whoever sees it.
  for (const char* token : {"grant-of-k2", "grant-of-k3"}) {
    auto other = head(http::Verb::post, "/execute", token);
    EXPECT_FALSE(lend_own_token(other, machine, kNow));
    EXPECT_EQ(other.fields.count("X-Access-Token"), 0u);
  }
  auto foreign = head(http::Verb::post, "/execute", "the-services-own");
  EXPECT_FALSE(lend_own_token(foreign, machine, kNow));
  EXPECT_EQ(foreign.header("X-Access-Token"), "the-services-own");
}

}  // namespace
}  // namespace hako::gate
