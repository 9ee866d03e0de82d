// Processes in the real daemon, over real connections.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <filesystem>
#include <fstream>

#include "base/encoding.h"
#include "integration/guest_daemon.h"
#include "wire/connect.h"

namespace hako::guest {
namespace {

namespace json = boost::json;
using Kind = wire::ProcessEvent::Kind;

class GuestProcess : public GuestDaemonTest {
 protected:
  /// A process that is running, and the stream of its events.
  struct Running {
    http::Client client;
    uint32_t pid = 0;
    std::string rest;  ///< frames behind the start event
  };

  static Task<Running> start_running(Task<http::Client> connecting, http::Request request) {
    auto client = co_await std::move(connecting);
    Running running{std::move(client)};
    auto head = co_await running.client.start(std::move(request));
    if (!head || head.value().status != 200) throw std::runtime_error("Start failed");
    wire::FrameDecoder decoder(1 << 20);
    char buffer[4096];
    for (;;) {
      auto n = co_await running.client.read_some(asio::buffer(buffer));
      if (!n || n.value() == 0) throw std::runtime_error("the stream has no start event");
      decoder.feed({buffer, n.value()});
      auto frame = decoder.next();
      if (!frame || !frame.value()) continue;
      auto event = wire::parse_process_event(frame.value()->payload);
      if (!event || event.value().kind != Kind::start) throw std::runtime_error("not started");
      running.pid = event.value().pid;
      running.rest = std::string(buffer, n.value()).substr(5 + frame.value()->payload.size());
      co_return running;
    }
  }
  Running start(const std::string& message) {
    return run(start_running(connect(), stream_request("process.Process/Start", message)));
  }
  StreamOutcome finish(Running& running) {
    return run(read_stream(running.client, 200, std::move(running.rest)));
  }
  /// Until a process has made `name` in its working directory.
  void wait_for_file(const std::string& name) {
    auto made =
        shell("for i in $(seq 600); do [ -e " + name + " ] && exit; sleep 0.05; done; exit 1");
    ASSERT_EQ(made.ended().exit_code, 0) << name;
  }
  static std::string selector(uint32_t pid) {
    return R"({"process":{"pid":)" + std::to_string(pid) + "}";
  }
  Reply send_input(uint32_t pid, std::string_view bytes, bool to_pty = false) {
    wire::ProcessSelector which;
    which.pid = pid;
    return unary("process.Process/SendInput", wire::input_request(which, to_pty, bytes));
  }
  Reply close_stdin(uint32_t pid) {
    return unary("process.Process/CloseStdin", selector(pid) + "}");
  }
  Reply signal(uint32_t pid, const std::string& name) {
    return unary("process.Process/SendSignal", selector(pid) + R"(,"signal":")" + name + "\"}");
  }
};

TEST_F(GuestProcess, RunsACommandAndTellsItsOutputAndEnd) {
  auto outcome = shell("echo out; echo err >&2; exit 3");
  EXPECT_EQ(outcome.status, 200u);
  ASSERT_FALSE(outcome.events.empty());
  EXPECT_EQ(outcome.events.front().kind, Kind::start);
  EXPECT_EQ(outcome.output(), "out\n");
  EXPECT_EQ(outcome.output(wire::OutputStream::err), "err\n");
  EXPECT_EQ(outcome.ended().exit_code, 3);
  EXPECT_EQ(outcome.ended().error, "exit status 3");
  EXPECT_TRUE(outcome.end);
}

TEST_F(GuestProcess, FailsBeforeTheStartWhenThereIsNothingToStart) {
  struct Case {
    const char *message, *error;
    ErrorCode code;
  };
  for (const Case& wrong : std::initializer_list<Case>{
           {R"({"process":{"cmd":"no-such-command"}})", "command 'no-such-command' not found",
            ErrorCode::invalid_argument},
           {R"({"process":{"cmd":"true","cwd":"/no/such"}})", "cwd '/no/such' does not exist",
            ErrorCode::invalid_argument},
           {R"({"process":{}})", "field 'process.cmd' is required", ErrorCode::invalid_argument},
           {R"({"process":)", "malformed JSON", ErrorCode::invalid_argument}}) {
    auto outcome = stream("process.Process/Start", wrong.message);
    EXPECT_EQ(outcome.status, 200u);
    EXPECT_TRUE(outcome.events.empty());
    ASSERT_FALSE(outcome.end);
    EXPECT_EQ(outcome.end.error().code(), wrong.code);
    EXPECT_TRUE(outcome.end.error().message().starts_with(wrong.error))
        << outcome.end.error().message();
  }
  auto stranger =
      stream("process.Process/Start", R"({"process":{"cmd":"true"}})", {as_user("no-such-user")});
  ASSERT_FALSE(stranger.end);
  EXPECT_EQ(stranger.end.error().code(), ErrorCode::unauthenticated);
}

TEST_F(GuestProcess, RunsAsTheUserThatIsAskedFor) {
  auto outcome = stream("process.Process/Start",
                        R"({"process":{"cmd":"sh","args":["-c",
                        "id -un; id -Gn; cat /proc/$$/status | grep CapEff; echo $HOME $USER"]}})",
                        {as_user("nobody")});
  std::string text = outcome.output();
  EXPECT_TRUE(text.starts_with("nobody\nnogroup\nCapEff:\t0000000000000000\n")) << text;
  EXPECT_NE(text.find("nobody\n"), std::string::npos);
}

TEST_F(GuestProcess, GivesTheEnvironmentOfTheContract) {
  ASSERT_EQ(init({{"defaultUser", "root"},
                  {"sandboxId", "ia"},
                  {"templateId", "base"},
                  {"envVars", json::object{{"A", "box"}, {"B", "box"}}}})
                .status,
            204u);
  auto outcome = stream("process.Process/Start",
                        R"({"process":{"cmd":"env","envs":{"B":"request"},"cwd":"/tmp"}})");
  std::string text = "\n" + outcome.output();
  for (const char* line :
       {"\nA=box\n", "\nB=request\n", "\nHOME=/root\n", "\nUSER=root\n", "\nLOGNAME=root\n",
        "\nE2B_SANDBOX=true\n", "\nE2B_SANDBOX_ID=ia\n", "\nE2B_TEMPLATE_ID=base\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  EXPECT_EQ(text.find("\nB=box\n"), std::string::npos);
}

TEST_F(GuestProcess, LeavesNoDescriptorOfTheDaemonOpen) {
  auto outcome = shell("ls /proc/$$/fd | tr '\\n' ' '; ps -o sid= -p $$ | tr -d ' '; echo $$");
  std::string text = outcome.output();
  EXPECT_TRUE(text.starts_with("0 1 2 ")) << text;
  auto rest = text.substr(6);
  EXPECT_EQ(rest.substr(0, rest.find('\n')), rest.substr(rest.find('\n') + 1, rest.find('\n')));
}

TEST_F(GuestProcess, PassesLongInputThroughWhole) {
  auto running = start(R"({"process":{"cmd":"sha256sum"}})");
  std::string piece(1 << 20, '\0');
  for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>(i * 31 >> 3);
  std::ofstream copy(folder_ + "/copy");
  for (int i = 0; i < 20; ++i) {
    piece[0] = static_cast<char>(i);
    copy << piece;
    auto reply = send_input(running.pid, piece);
    ASSERT_EQ(reply.status, 200u) << reply.body;
    EXPECT_EQ(reply.body, "{}");
  }
  copy.close();
  EXPECT_EQ(close_stdin(running.pid).status, 200u);
  auto outcome = finish(running);
  auto expected = shell("sha256sum < copy");
  EXPECT_EQ(outcome.output(), expected.output());
  EXPECT_EQ(outcome.ended().exit_code, 0);
}

TEST_F(GuestProcess, PassesLongOutputThroughWhole) {
  constexpr size_t kBytes = 100'000'000;
  auto outcome = shell("head -c 100000000 /dev/zero");
  std::string text = outcome.output();
  EXPECT_EQ(text.size(), kBytes);
  EXPECT_EQ(text.find_first_not_of('\0'), std::string::npos);
  EXPECT_EQ(outcome.ended().exit_code, 0);
}

TEST_F(GuestProcess, HoldsOutputBackWhileTheClientDoesNotRead) {
  auto running =
      start(R"({"process":{"cmd":"sh","args":["-c","yes | head -c 50000000; touch written"]}})");
  // Everything on the way holds a few MiB at most; this call is served meanwhile.
  auto listed = unary("process.Process/List", "{}");
  EXPECT_NE(listed.body.find("touch written"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/written"));
  auto outcome = finish(running);
  EXPECT_EQ(outcome.output().size(), 50'000'000u);
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/written"));
}

TEST_F(GuestProcess, WithoutStdinReadsNothing) {
  auto outcome = stream("process.Process/Start", R"({"process":{"cmd":"cat"},"stdin":false})");
  EXPECT_EQ(outcome.ended().exit_code, 0);
  auto running = start(R"({"process":{"cmd":"sleep","args":["60"]},"stdin":false})");
  auto refused = send_input(running.pid, "x");
  EXPECT_EQ(refused.status, 500u);
  EXPECT_NE(refused.body.find("\"internal\""), std::string::npos);
  EXPECT_EQ(signal(running.pid, "SIGNAL_SIGKILL").status, 200u);
  finish(running);
}

TEST_F(GuestProcess, EndsBySignalWithoutWaitingForDescendants) {
  auto running = start(
      R"({"process":{"cmd":"sh","args":["-c","sleep 60 & echo $! > new; mv new child; wait"]}})");
  wait_for_file("child");
  EXPECT_EQ(signal(running.pid, "SIGNAL_SIGKILL").status, 200u);
  auto outcome = finish(running);
  EXPECT_EQ(outcome.ended().exit_code, -1);
  EXPECT_FALSE(outcome.ended().exited);
  EXPECT_EQ(outcome.ended().status, "signal: killed");
  EXPECT_TRUE(outcome.end);
  EXPECT_EQ(signal(running.pid, "SIGNAL_SIGKILL").status, 404u);
  EXPECT_EQ(shell("kill $(cat child)").ended().exit_code, 0) << "it was not waited for, but lives";
}

TEST_F(GuestProcess, MayHandleATermination) {
  auto running = start(
      R"({"process":{"cmd":"sh","args":["-c","trap 'echo bye; exit 7' TERM; touch set; while :; do sleep 0.05; done"]}})");
  wait_for_file("set");
  EXPECT_EQ(signal(running.pid, "SIGNAL_SIGTERM").status, 200u);
  auto outcome = finish(running);
  EXPECT_EQ(outcome.ended().exit_code, 7);
  EXPECT_EQ(outcome.output(), "bye\n");
}

TEST_F(GuestProcess, OutputOfDescendantsComesBeforeTheEnd) {
  auto outcome = shell("(sleep 0.3; echo late) & echo early");
  EXPECT_EQ(outcome.output(), "early\nlate\n");
  EXPECT_EQ(outcome.ended().exit_code, 0);
}

TEST_F(GuestProcess, IsKilledAtItsDeadline) {
  auto outcome = stream("process.Process/Start", R"({"process":{"cmd":"sleep","args":["60"]}})",
                        {{"Connect-Timeout-Ms", "300"}});
  EXPECT_EQ(outcome.ended().status, "signal: killed");
  ASSERT_FALSE(outcome.end);
  EXPECT_EQ(outcome.end.error().code(), ErrorCode::timed_out);
}

TEST_F(GuestProcess, OutlivesItsClientAndCanBeFoundAgain) {
  auto running =
      start(R"({"process":{"cmd":"sh","args":["-c","read line; echo got $line"]},"tag":"mine"})");
  { http::Client gone = std::move(running.client); }
  auto reconnected = run(start_running(
      connect(), stream_request("process.Process/Connect", R"({"process":{"tag":"mine"}})")));
  EXPECT_EQ(reconnected.pid, running.pid);
  EXPECT_EQ(send_input(running.pid, "hello\n").status, 200u);
  auto outcome = finish(reconnected);
  EXPECT_EQ(outcome.output(), "got hello\n");
  EXPECT_EQ(outcome.ended().exit_code, 0);
  // Its end is remembered for those who come late.
  auto late = stream("process.Process/Connect", selector(running.pid) + "}");
  ASSERT_EQ(late.events.size(), 2u);
  EXPECT_EQ(late.ended().exit_code, 0);
  auto unknown = stream("process.Process/Connect", R"({"process":{"pid":4000000}})");
  ASSERT_FALSE(unknown.end);
  EXPECT_EQ(unknown.end.error().code(), ErrorCode::not_found);
}

TEST_F(GuestProcess, TellsAllSubscribers) {
  auto first = start(R"({"process":{"cmd":"sh","args":["-c","read x; echo both"]}})");
  auto second = run(start_running(
      connect(), stream_request("process.Process/Connect", selector(first.pid) + "}")));
  send_input(first.pid, "\n");
  EXPECT_EQ(finish(first).output(), "both\n");
  EXPECT_EQ(finish(second).output(), "both\n");
}

TEST_F(GuestProcess, KeepsQuietStreamsAlive) {
  auto outcome = stream("process.Process/Start", R"({"process":{"cmd":"sleep","args":["1.5"]}})",
                        {{"Keepalive-Ping-Interval", "1"}});
  ASSERT_EQ(outcome.events.size(), 3u);
  EXPECT_EQ(outcome.events[1].kind, Kind::keepalive);
}

TEST_F(GuestProcess, HasATerminalOfTheSizeAskedFor) {
  auto running = start(
      R"({"process":{"cmd":"sh","args":["-c","tty; stty size; read x; stty size"]},
          "pty":{"size":{"cols":100,"rows":30}}})");
  EXPECT_EQ(unary("process.Process/Update",
                  selector(running.pid) + R"(,"pty":{"size":{"cols":120,"rows":40}}})")
                .status,
            200u);
  EXPECT_EQ(close_stdin(running.pid).status, 400u);
  EXPECT_EQ(send_input(running.pid, "\n", true).status, 200u);
  auto outcome = finish(running);
  std::string text = outcome.output(wire::OutputStream::pty);
  // The echo of the input may come first.
  EXPECT_NE(text.find("/dev/pts/"), std::string::npos) << text;
  EXPECT_NE(text.find("40 120\r\n"), std::string::npos) << text;
  EXPECT_EQ(outcome.ended().exit_code, 0);
}

TEST_F(GuestProcess, ListsWhatRuns) {
  auto running = start(R"({"process":{"cmd":"sleep","args":["60"],"cwd":"/"},"tag":"t"})");
  auto reply = unary("process.Process/List", "{}");
  auto list = json::parse(reply.body).as_object()["processes"].as_array();
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].at("pid").as_int64(), running.pid);
  EXPECT_EQ(list[0].at("tag").as_string(), "t");
  EXPECT_EQ(list[0].at("config").at("cmd").as_string(), "sleep");
  EXPECT_EQ(list[0].at("config").at("cwd").as_string(), "/");
  signal(running.pid, "SIGNAL_SIGKILL");
  finish(running);
  EXPECT_EQ(unary("process.Process/List", "{}").body, R"({"processes":[]})");
}

TEST_F(GuestProcess, TakesInputAsAStream) {
  auto running = start(R"({"process":{"cmd":"cat"}})");
  auto frame_of = [](const std::string& text) {
    std::string out;
    size_t start = wire::begin_frame(out);
    out += text;
    wire::end_frame(out, start);
    return out;
  };
  http::Request request =
      stream_request("process.Process/StreamInput", R"({"start":)" + selector(running.pid) + "}}");
  for (const char* part : {"one ", "two"})
    request.body += frame_of(R"({"data":{"input":{"stdin":")" + base64_encode(part) + "\"}}}");
  request.body += frame_of(R"({"keepalive":{}})");
  auto client = run(connect());
  auto response = run(client.exchange(std::move(request)));
  ASSERT_TRUE(response);
  EXPECT_EQ(response.value().status, 200u);
  close_stdin(running.pid);
  EXPECT_EQ(finish(running).output(), "one two");
}

TEST_F(GuestProcess, RefusesWhatIsNoRequest) {
  EXPECT_EQ(unary("process.Process/List", "[]").status, 400u);
  EXPECT_EQ(unary("process.Process/SendInput", R"({"process":{"pid":"x"}})").status, 400u);
  EXPECT_EQ(
      unary("process.Process/SendInput", R"({"process":{"pid":1},"input":{"stdin":"*"}})").status,
      400u);
  EXPECT_EQ(unary("process.Process/SendSignal", selector(4'000'000) + R"(,"signal":9})").status,
            404u);
  EXPECT_EQ(unary("process.Process/NoSuch", "{}").status, 404u);
  EXPECT_EQ(unary("process.Process/List", std::string(5 << 20, ' ')).status, 429u);
  EXPECT_EQ(unary("process.Process/List", std::string(100'000, '[')).status, 400u);
  EXPECT_EQ(request(http::Verb::post, "/process.Process/List", "{}",
                    {{"Content-Type", "application/xml"}})
                .status,
            415u);
  EXPECT_EQ(request(http::Verb::post, "/process.Process/Start", "{}",
                    {{"Content-Type", "application/json"}})
                .status,
            415u);
  EXPECT_EQ(request(http::Verb::get, "/health").status, 204u);
}

TEST_F(GuestProcess, AsksForTheTokenOnceThereIsOne) {
  ASSERT_EQ(init({{"generation", 2}, {"defaultUser", "root"}, {"accessToken", "secret"}}).status,
            204u);
  EXPECT_EQ(request(http::Verb::get, "/health").status, 204u);
  EXPECT_EQ(request(http::Verb::get, "/envs").status, 401u);
  EXPECT_EQ(request(http::Verb::get, "/metrics").status, 401u);
  EXPECT_EQ(unary("process.Process/List", "{}").status, 401u);
  EXPECT_EQ(unary("process.Process/List", "{}", {{"X-Access-Token", "secreT"}}).status, 401u);
  EXPECT_EQ(unary("process.Process/List", "{}", {{"X-Access-Token", "secret"}}).status, 200u);
  EXPECT_EQ(request(http::Verb::get, "/envs", {}, {{"X-Access-Token", "secret"}}).body, "{}");
  EXPECT_EQ(init({{"generation", 1}}).status, 409u);
  EXPECT_EQ(request(http::Verb::get, "/envs").status, 401u);
}

TEST_F(GuestProcess, ReportsMetrics) {
  auto metrics = json::parse(request(http::Verb::get, "/metrics").body).as_object();
  EXPECT_GE(metrics["cpu_count"].as_int64(), 1);
  EXPECT_GT(metrics["mem_total"].as_int64(), metrics["mem_used"].as_int64());
  EXPECT_GE(metrics["disk_total"].as_int64(), metrics["disk_used"].as_int64());
}

}  // namespace
}  // namespace hako::guest
