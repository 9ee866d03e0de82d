// The gate as a process, with a node's end in this test and a guest in a namespace of its own.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "jail/jail.h"
#include "support/gate_fixture.h"
#include "wire/signature.h"

namespace hako::test {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

GATE_TEST(passes_requests_on_by_header_and_by_host) {
  auto ask_health = request("/health");
  auto health = co_await ask(std::move(ask_health));
  EXPECT_EQ(health.status, 204u);
  auto ask_service = request("/x?y=1", "box1", ScriptedGuest::kServicePort);
  auto service = co_await ask(std::move(ask_service));
  EXPECT_EQ(service.body, "service /x?y=1 127.0.0.1");
  auto by_host = request("/x", "");
  by_host.fields.set(http::Field::host, "8080-box1.hako.localhost:3002");
  auto hosted = co_await ask(std::move(by_host));
  EXPECT_EQ(hosted.body, "service /x 8080-box1.hako.localhost:3002");
  auto upload = request("/echo");
  upload.method = http::Verb::post;
  upload.body = std::string(5 << 20, 'u');
  auto echoed = co_await ask(std::move(upload));
  EXPECT_EQ(echoed.body.size(), size_t{5 << 20});
}

GATE_TEST(keeps_connections_to_the_daemon) {
  auto client = co_await this->client();
  for (int i = 0; i < 50; ++i) {
    auto health = request("/health");
    auto response = co_await client.exchange(std::move(health));
    CO_ASSERT_TRUE(response);
    EXPECT_EQ(response.value().status, 204u);
  }
  EXPECT_EQ(guest_->open_connections(49983), 1);
  // The guest closes it after a while; the next request must not notice.
  while (guest_->established_connections(49983) > 0) co_await sleep_for(5ms);
  auto again = request("/health");
  auto response = co_await ask(std::move(again));
  EXPECT_EQ(response.status, 204u);
}

GATE_TEST(a_machine_that_is_told_of_again_takes_the_place_of_what_it_had) {
  auto descriptors = [this] {
    std::string path = "/proc/" + std::to_string(gate_->process().pid()) + "/fd";
    return std::distance(std::filesystem::directory_iterator(path), {});
  };
  auto before = descriptors();
  for (int i = 0; i < 10; ++i) CO_ASSERT_TRUE(co_await node_->add("m1-1", *guest_));
  EXPECT_EQ(descriptors(), before);
  auto health = request("/health");
  auto response = co_await ask(std::move(health));
  EXPECT_EQ(response.status, 204u);
}

GATE_TEST(answers_for_what_is_not_there) {
  auto no_box = request("/health", "nosuchbox");
  auto unknown = co_await ask(std::move(no_box));
  EXPECT_EQ(unknown.status, 502u);
  EXPECT_EQ(unknown.body,
            R"({"sandboxId":"nosuchbox","message":"The sandbox was not found","code":502})");
  auto no_port = request("/", "box1", 8081);
  auto closed = co_await ask(std::move(no_port));
  EXPECT_EQ(closed.status, 502u);
  EXPECT_EQ(closed.body,
            R"({"sandboxId":"box1","message":"The sandbox is running but port is not open",)"
            R"("port":8081,"code":502})");
  auto no_answer = request("/silent");
  auto silent = co_await ask(std::move(no_answer));
  EXPECT_EQ(silent.status, 502u);
  auto unrouted_request = request("/health", "");
  auto unrouted = co_await ask(std::move(unrouted_request));
  EXPECT_EQ(unrouted.status, 400u);
  auto malformed_request = request("/health", "../etc");
  auto malformed = co_await ask(std::move(malformed_request));
  EXPECT_EQ(malformed.status, 400u);
}

GATE_TEST(keeps_what_is_the_nodes_from_everybody_else) {
  for (std::string path :
       {"/init", "//init", "/%69nit", "/x/../init", "http://x/init", "/freeze", "/thaw"}) {
    auto forbidden = request(path);
    forbidden.method = http::Verb::post;
    forbidden.body = "stolen";
    auto response = co_await ask(std::move(forbidden));
    EXPECT_EQ(response.status, 404u) << path;
  }
  auto seen_request = request("/last-init");
  auto seen = co_await ask(std::move(seen_request));
  EXPECT_EQ(seen.body, "");
  auto own_request = request("/init", "box1", ScriptedGuest::kServicePort);
  auto own = co_await ask(std::move(own_request));
  EXPECT_EQ(own.body, "service /init 127.0.0.1");
}

GATE_TEST(freezes_a_guest_and_cuts_nothing) {
  auto streaming = co_await this->client();
  auto hang = request("/hang");
  CO_ASSERT_TRUE(co_await streaming.start(std::move(hang)));
  for (std::string order : {"freeze", "thaw"}) {
    auto told = node_->order("machine." + order, machine());
    CO_ASSERT_TRUE(co_await std::move(told));
    auto seen_request = request("/last-order");
    auto seen = co_await ask(std::move(seen_request));
    EXPECT_EQ(seen.body, "/" + order);
  }
  EXPECT_EQ(guest_->established_connections(49983), 2);  // the stream's, and a kept one
  auto removal = node_->order("machine.remove", machine());
  CO_ASSERT_TRUE(co_await std::move(removal));
}

GATE_TEST(says_why_a_guest_is_not_frozen) {
  for (auto [kind, code, text] :
       {std::tuple{"stubborn", ErrorCode::failed_precondition, "cannot be frozen: program 7 (x)"},
        std::tuple{"ancient", ErrorCode::unsupported, "404"}}) {
    auto body = machine();
    body["init"] = boost::json::object{{"kind", kind}};
    auto init = node_->order("machine.init", std::move(body));
    CO_ASSERT_TRUE(co_await std::move(init));
    auto order = node_->order("machine.freeze", machine());
    auto refused = co_await std::move(order);
    CO_ASSERT_TRUE(!refused);
    EXPECT_EQ(refused.error().code(), code) << refused.error().message();
    EXPECT_THAT(refused.error().message(), HasSubstr(text));
  }
  boost::json::object unknown{{"machine", "m9-9"}, {"deadline_ms", 1000}};
  auto order = node_->order("machine.thaw", std::move(unknown));
  auto missing = co_await std::move(order);
  CO_ASSERT_TRUE(!missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
}

GATE_TEST(a_copy_of_a_machine_shares_no_connection_with_it) {
  ScriptedGuest copied;
  CO_ASSERT_TRUE(co_await node_->add("m2-1", copied));
  CO_ASSERT_TRUE(co_await node_->publish("m2-1", "box2", "token2"));
  auto of_parent = co_await this->client();
  auto hang = request("/hang");
  CO_ASSERT_TRUE(co_await of_parent.start(std::move(hang)));
  EXPECT_EQ(copied.open_connections(49983), 0);
  auto of_copy = co_await this->client();
  auto hang_too = request("/hang", "box2");
  CO_ASSERT_TRUE(co_await of_copy.start(std::move(hang_too)));
  char buffer[16];
  for (http::Client* client : {&of_parent, &of_copy}) {
    auto begun = co_await client->read_some(asio::buffer(buffer));
    CO_ASSERT_TRUE(begun);
  }
  // The parent is paused: all of its connections go, and none of the copy's.
  auto removal = node_->order("machine.remove", machine());
  CO_ASSERT_TRUE(co_await std::move(removal));
  auto cut = co_await of_parent.read_some(asio::buffer(buffer));
  EXPECT_FALSE(cut);
  EXPECT_EQ(copied.established_connections(49983), 1);
}

GATE_TEST(finds_the_box_of_a_signed_url) {
  wire::FileGrant grant{"a b.txt", "read", "", std::nullopt};
  std::string query = "path=a%20b.txt&signature=";
  std::string good = wire::sign_files(grant, "token1");
  for (size_t at; (at = good.find_first_of("+/")) != std::string::npos;)
    good.replace(at, 1, good[at] == '+' ? "%2B" : "%2F");
  auto signed_request = request("/files?" + query + good, "");
  auto response = co_await ask(std::move(signed_request));
  EXPECT_EQ(response.body, "files " + query + good);
  auto forged_request = request("/files?" + query + wire::sign_files(grant, "token2"), "");
  auto forged = co_await ask(std::move(forged_request));
  EXPECT_EQ(forged.status, 401u);
}

GATE_TEST(removing_a_machine_cuts_its_streams) {
  auto streaming = co_await this->client();
  auto hang = request("/hang");
  auto head = co_await streaming.start(std::move(hang));
  CO_ASSERT_TRUE(head);
  char buffer[16];
  auto first = co_await streaming.read_some(asio::buffer(buffer));
  CO_ASSERT_TRUE(first);
  EXPECT_EQ(first.value(), 5u);
  auto order = node_->order("machine.remove", machine());
  CO_ASSERT_TRUE(co_await std::move(order));
  auto rest = co_await streaming.read_some(asio::buffer(buffer));
  CO_ASSERT_TRUE(!rest);  // cut, not ended
  EXPECT_THAT(rest.error().message(), HasSubstr("reset"));
  auto health = request("/health");
  auto response = co_await ask(std::move(health));
  EXPECT_EQ(response.status, 502u);
  EXPECT_THAT(response.body, HasSubstr("The sandbox was not found"));
  while (guest_->open_connections(49983) > 0) co_await sleep_for(1ms);
  auto again = node_->order("machine.remove", machine());
  auto gone = co_await std::move(again);
  CO_ASSERT_TRUE(!gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::not_found);
}

GATE_TEST(a_client_that_leaves_frees_the_guest) {
  {
    auto streaming = co_await this->client();
    auto hang = request("/hang");
    CO_ASSERT_TRUE(co_await streaming.start(std::move(hang)));
    EXPECT_EQ(guest_->open_connections(49983), 1);
  }
  while (guest_->open_connections(49983) > 0) co_await sleep_for(1ms);
}

GATE_TEST(asks_the_node_for_more_sockets_and_limits_them) {
  std::vector<http::Client> clients;
  // All that any port may have, and those that are kept for the daemon.
  for (int i = 0; i < 512 + 128; ++i) {
    auto one = co_await this->client();
    auto hang = request("/hang");
    auto head = co_await one.start(std::move(hang));
    CO_ASSERT_TRUE(head);
    EXPECT_EQ(head.value().status, 200u);
    clients.push_back(std::move(one));
  }
  EXPECT_GT(node_->sockets_given(), 500);
  auto surplus = request("/hang");
  auto refused = co_await ask(std::move(surplus));
  EXPECT_EQ(refused.status, 429u);
  auto to_a_port = request("/x", "box1", ScriptedGuest::kServicePort);
  auto refused_there = co_await ask(std::move(to_a_port));
  EXPECT_EQ(refused_there.status, 429u);
  while (clients.size() > 512) clients.pop_back();
  while (guest_->open_connections(49983) > 512) co_await sleep_for(5ms);
  auto again = request("/x", "box1", ScriptedGuest::kServicePort);
  auto still_refused = co_await ask(std::move(again));
  EXPECT_EQ(still_refused.status, 429u);
  auto to_the_daemon = request("/health");
  auto answered = co_await ask(std::move(to_the_daemon));
  EXPECT_NE(answered.status, 429u);
  clients.clear();
  while (guest_->open_connections(49983) > 0) co_await sleep_for(5ms);
  auto health = request("/health");
  auto response = co_await ask(std::move(health));
  EXPECT_EQ(response.status, 204u);
}

GATE_TEST(carries_out_what_the_node_asks) {
  auto waiting = node_->order("machine.wait_ready", machine());
  EXPECT_TRUE(co_await std::move(waiting));
  auto init = machine();
  init["init"] = boost::json::object{{"hostname", "h1"}};
  auto initializing = node_->order("machine.init", std::move(init));
  EXPECT_TRUE(co_await std::move(initializing));
  auto seen_request = request("/last-init");
  auto seen = co_await ask(std::move(seen_request));
  EXPECT_EQ(seen.body, R"({"hostname":"h1"})");
  auto refused_init = machine();
  refused_init["init"] = boost::json::object{{"hostname", "refuse"}};
  auto refusing = node_->order("machine.init", std::move(refused_init));
  auto refused = co_await std::move(refusing);
  CO_ASSERT_TRUE(!refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::failed_precondition);
  EXPECT_THAT(refused.error().message(), HasSubstr("generation 1"));
}

GATE_TEST(runs_programs_and_bounds_what_they_say) {
  auto echo = co_await exec("echo");
  CO_ASSERT_TRUE(echo);
  EXPECT_EQ(echo.value().at("exit_code").to_number<int>(), 3);
  EXPECT_EQ(echo.value().at("output").as_string(), "a b c Basic cm9vdDo=\uFFFD!");
  auto flood = co_await exec("flood");
  CO_ASSERT_TRUE(flood);
  EXPECT_EQ(flood.value().at("output").as_string().size(), 50'000u);
  EXPECT_TRUE(flood.value().at("output").as_string().ends_with("flast"));
  auto refused = co_await exec("refused");
  CO_ASSERT_TRUE(!refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  for (std::string cmd : {"rubbish", "unfinished"}) {
    auto broken = co_await exec(cmd);
    EXPECT_FALSE(broken) << cmd;
  }
  auto hung = co_await exec("hang", 200);
  CO_ASSERT_TRUE(!hung);
  EXPECT_EQ(hung.error().code(), ErrorCode::timed_out);
  auto health = request("/health");
  auto response = co_await ask(std::move(health));
  EXPECT_EQ(response.status, 204u);
}

GATE_TEST(an_exec_ends_when_its_machine_is_removed) {
  auto body = machine(20'000);
  body["cmd"] = "hang";
  bool ended = false;
  TaskGroup group(co_await asio::this_coro::executor);
  auto wait = [](TestNode& node, boost::json::object body, bool& ended) -> Task<void> {
    auto order = node.order("machine.exec", std::move(body));
    auto result = co_await std::move(order);
    EXPECT_FALSE(result);
    ended = true;
  };
  group.spawn("exec", wait(*node_, std::move(body), ended));
  while (guest_->open_connections(49983) == 0) co_await sleep_for(1ms);
  auto remove = node_->order("machine.remove", machine());
  EXPECT_TRUE(co_await std::move(remove));
  while (!ended) co_await sleep_for(1ms);
  co_await group.stop();
}

GATE_TEST(waiting_for_a_guest_that_never_comes_ends_at_the_deadline) {
  boost::json::object add;
  add["machine"] = "m2-1";
  add["address"] = "127.0.0.1";  // nobody listens there
  auto adding = node_->order("machine.add", std::move(add), guest_->sockets(2));
  CO_ASSERT_TRUE(co_await std::move(adding));
  boost::json::object wait;
  wait["machine"] = "m2-1";
  wait["deadline_ms"] = 300;
  auto waiting = node_->order("machine.wait_ready", std::move(wait));
  auto result = co_await std::move(waiting);
  CO_ASSERT_TRUE(!result);
  EXPECT_EQ(result.error().code(), ErrorCode::timed_out);
}

GATE_TEST(quiescing_leaves_no_connection) {
  for (int i = 0; i < 3; ++i) {
    auto health = request("/health");
    (void)co_await ask(std::move(health));
  }
  auto streaming = co_await this->client();
  auto hang = request("/hang");
  CO_ASSERT_TRUE(co_await streaming.start(std::move(hang)));
  EXPECT_GT(guest_->open_connections(49983), 0);
  auto quiesce = node_->order("machine.quiesce", machine());
  CO_ASSERT_TRUE(co_await std::move(quiesce));
  EXPECT_EQ(guest_->open_connections(49983), 0);
  auto health = request("/health");
  auto response = co_await ask(std::move(health));
  EXPECT_EQ(response.status, 204u);
}

GATE_TEST(goes_on_without_the_node_and_finds_it_again) {
  auto streaming = co_await this->client();
  auto hang = request("/hang");
  CO_ASSERT_TRUE(co_await streaming.start(std::move(hang)));
  node_->disconnect();
  auto health = request("/health");
  auto response = co_await ask(std::move(health));
  EXPECT_EQ(response.status, 204u);
  co_await node_->wait_for_gate();
  EXPECT_EQ(node_->connections(), 2);
  CO_ASSERT_TRUE(co_await node_->add("m1-1", *guest_));
  CO_ASSERT_TRUE(co_await node_->publish("m1-1", "box1", "token1"));
  EXPECT_GT(guest_->established_connections(49983), 0);
  auto again = request("/health");
  auto later = co_await ask(std::move(again));
  EXPECT_EQ(later.status, 204u);
}

GATE_TEST(refuses_orders_it_does_not_understand) {
  struct Case {
    const char* method;
    boost::json::object body;
    ErrorCode expected;
  };
  std::vector<Case> cases;
  cases.push_back({"machine.add", {{"machine", 5}}, ErrorCode::invalid_argument});
  cases.push_back(
      {"machine.add", {{"machine", "m"}, {"address", "x"}}, ErrorCode::invalid_argument});
  cases.push_back({"machine.publish", {{"machine", "none"}, {"box", "b"}}, ErrorCode::not_found});
  cases.push_back(
      {"machine.exec", {{"machine", "m1-1"}, {"deadline_ms", 5}}, ErrorCode::invalid_argument});
  cases.push_back({"machine.wait_ready", {{"machine", "m1-1"}}, ErrorCode::invalid_argument});
  cases.push_back({"machine.unheard_of", {}, ErrorCode::unsupported});
  for (auto& one : cases) {
    auto order = node_->order(one.method, one.body);
    auto result = co_await std::move(order);
    CO_ASSERT_TRUE(!result);
    EXPECT_EQ(result.error().code(), one.expected) << one.method;
  }
}

GATE_TEST(runs_without_privileges_behind_its_filter) {
  std::ifstream status("/proc/" + std::to_string(gate_->process().pid()) + "/status");
  std::map<std::string, std::string> facts;
  for (std::string line; std::getline(status, line);) {
    size_t colon = line.find(':');
    if (colon + 2 < line.size()) facts[line.substr(0, colon)] = line.substr(colon + 2);
  }
  std::string uid = std::to_string(kGateUid);
  EXPECT_THAT(facts["Uid"], StartsWith(uid + "\t" + uid + "\t" + uid));
  EXPECT_EQ(facts["CapEff"], "0000000000000000");
  EXPECT_EQ(facts["CapBnd"], "0000000000000000");
  EXPECT_EQ(facts["NoNewPrivs"], "1");
  EXPECT_EQ(facts["Seccomp"], "2");
  co_return;
}

/// Exit status of a child that confines itself (or not) and then tries `act`.
int in_child(bool confined, int (*act)()) {
  pid_t pid = ::fork();
  if (pid == 0) {
    if (confined && (!jail::drop_privileges(kGateUid, kGateUid) || !jail::confine_gate()))
      ::_exit(99);
    ::_exit(act());
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int open_a_file() {
  return ::open("/etc/passwd", O_RDONLY) >= 0 ? 0 : errno;
}
int start_a_program() {
  ::execl("/bin/true", "true", nullptr);
  return errno;
}

TEST(GateWall, stands_between_the_gate_and_files_and_programs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to drop it";
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer starts a thread in each child, which is then not confined";
#endif
  EXPECT_EQ(in_child(false, open_a_file), 0);
  EXPECT_EQ(in_child(true, open_a_file), EPERM);
  EXPECT_EQ(in_child(false, start_a_program), 0);
  EXPECT_EQ(in_child(true, start_a_program), EPERM);
}

}  // namespace
}  // namespace hako::test
