// The parts of the command line that need no daemon.
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/process.h"
#include "cli/attack_probe.h"
#include "cli/attack_report.h"
#include "cli/box.h"
#include "cli/copy_path.h"
#include "cli/duration.h"
#include "cli/egress_text.h"
#include "cli/endpoint.h"
#include "cli/log_tail.h"
#include "cli/model_commands.h"
#include "cli/narrowing.h"
#include "cli/output.h"
#include "cli/repository.h"
#include "cli/service_state.h"
#include "cli/session.h"
#include "cli/text.h"
#include "support/cli_scratch.h"

namespace hako::cli {
namespace {

TEST(Duration, ReadsWhatPeopleType) {
  EXPECT_EQ(parse_duration("30s").value().count(), 30);
  EXPECT_EQ(parse_duration("5m").value().count(), 300);
  EXPECT_EQ(parse_duration("2h").value().count(), 7200);
  EXPECT_EQ(parse_duration("1d").value().count(), 86400);
  EXPECT_EQ(parse_duration("1h30m").value().count(), 5400);
  EXPECT_EQ(parse_duration("45").value().count(), 45);
}

TEST(Duration, RefusesTheRest) {
  for (const char* text : {"", "s", "5x", "-5s", "1m1h", "1s1s", "5 m", "0s", "0", "1h5", "31d",
                           "99999999999999999999s", "9223372036854775807d", "+5s", "5s ", "1.5h"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Duration, FormatsBack) {
  EXPECT_EQ(format_duration(std::chrono::seconds(90)), "1m30s");
  EXPECT_EQ(format_duration(std::chrono::seconds(0)), "0s");
  for (int seconds : {1, 59, 60, 61, 3600, 3661, 86400, 90061})
    EXPECT_EQ(parse_duration(format_duration(std::chrono::seconds(seconds))).value().count(),
              seconds);
}

TEST(EndpointTest, ReadsUrls) {
  auto plain = parse_endpoint("http://127.0.0.1:3000").value();
  EXPECT_EQ(plain.host, "127.0.0.1");
  EXPECT_EQ(plain.port, 3000);
  EXPECT_EQ(plain.authority(), "127.0.0.1:3000");
  EXPECT_TRUE(plain.is_loopback());
  auto prefixed = parse_endpoint("http://example.test/hako/").value();
  EXPECT_EQ(prefixed.port, 80);
  EXPECT_EQ(prefixed.prefix, "/hako");
  EXPECT_FALSE(prefixed.is_loopback());
  auto v6 = parse_endpoint("http://[::1]:3000").value();
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(v6.authority(), "[::1]:3000");
  EXPECT_FALSE(v6.secure);
  auto secure = parse_endpoint("https://api.example.test").value();
  EXPECT_TRUE(secure.secure);
  EXPECT_EQ(secure.port, 443);
  EXPECT_EQ(secure.authority(), "api.example.test");
  EXPECT_EQ(secure.url, "https://api.example.test");
  EXPECT_EQ(parse_endpoint("https://x:80").value().authority(), "x:80");
}

TEST(EndpointTest, RefusesTheRest) {
  for (const char* url : {"", "127.0.0.1:3000", "ftp://x", "https:/x", "https://", "http://", "http://:3000",
                          "http://x:", "http://x:0", "http://x:70000", "http://x:1a", "http://u@x",
                          "http://x y", "http://[::1", "http://x?q", "http://x\r\nA: b"})
    EXPECT_FALSE(parse_endpoint(url)) << url;
}

TEST(NamedGate, IsUsedWhereItCanBeMeantAndIsNoStepDown) {
  auto gate = [](const char* api, const char* plain, const char* secure) -> std::string {
    boost::json::value info = {{"gateUrl", plain}, {"gateHttpsUrl", secure}};
    auto named = named_gate(info, parse_endpoint(api).value());
    return named ? named->url : "none";
  };
  const char *here = "http://127.0.0.1:3002", *away = "http://10.0.0.1:3002";
  const char* name = "https://api.box.test";
  EXPECT_EQ(gate("http://127.0.0.1:3000", here, name), here);
  EXPECT_EQ(gate("https://localhost:3000", here, ""), here);
  EXPECT_EQ(gate("http://127.0.0.1:3000", away, name), away);
  EXPECT_EQ(gate("http://api.test", here, ""), "none");
  EXPECT_EQ(gate("http://api.test", away, ""), away);
  EXPECT_EQ(gate("https://api.test", away, ""), "none") << "what came encrypted goes on so";
  EXPECT_EQ(gate("https://api.test", away, name), name);
  EXPECT_EQ(gate("http://api.test", here, name), name);
  EXPECT_EQ(gate("https://api.test", here, "https://127.0.0.1:1"), "none");
  EXPECT_EQ(gate("https://api.test", "nonsense", ""), "none");
}

TEST(EgressText, ReadsDestinations) {
  auto read = [](const char* text) {
    return boost::json::serialize(destination_json(text).value());
  };
  EXPECT_EQ(read("a.example:443"), R"({"name":"a.example","port":443})");
  EXPECT_EQ(read("192.0.2.1:80"), R"({"address":"192.0.2.1","port":80})");
  EXPECT_EQ(read("[2001:db8::1]:80"), R"({"address":"2001:db8::1","port":80})");
  for (const char* text : {"", "a", "a:", ":80", "a:0", "a:70000", "a:8x", "2001:db8::1:80",
                           "[a]:80", "[]:80"})
    EXPECT_FALSE(destination_json(text)) << text;
}

TEST(EgressText, AsksOnlyForWhatWasSaid) {
  boost::json::object body;
  put_confinement(body, {});
  EXPECT_TRUE(body.empty());
  Confinement all{"internal", "allow", {"a.example:443"}, {"b.example"}};
  put_confinement(body, all);
  EXPECT_EQ(boost::json::serialize(body),
            R"({"label":"internal","egress":"allow","allow":["a.example:443"],)"
            R"("deny":["b.example"]})");
}

TEST(EgressText, ADecisionSaysWhyAndWhatWouldHelp) {
  auto denied = boost::json::parse(R"({"rule":"egress.none","reason":"nothing goes out",
                                       "remedy":"ask for less"})");
  EXPECT_EQ(decision_text(denied, false),
            "denied: nothing goes out (rule egress.none)\nto allow it: ask for less\n");
  auto allowed = boost::json::parse(R"({"rule":"link","reason":"a link leads there","remedy":""})");
  EXPECT_EQ(decision_text(allowed, true), "allowed: a link leads there (rule link)\n");
}

TEST(EgressText, ARecordIsOneLineWhateverABoxHasPutIntoIt) {
  auto denied = boost::json::parse(
      R"({"timestamp":"2026-01-01T00:00:00.000Z","kind":"dns","name":"a\u001b[2J\n.example",
          "address":"","port":0,"verdict":"denied","rule":"egress.none","reason":"no\r\nway",
          "bytesOut":0,"bytesIn":0,"count":3,"connection":0})");
  EXPECT_EQ(record_line(denied),
            "2026-01-01T00:00:00.000Z  denied    dns   a\\x1b[2J\\x0a.example"
            "  no\\x0d\\x0away (rule egress.none)  3 times");
  auto ended = boost::json::parse(
      R"({"timestamp":"t","kind":"tcp","name":"a.example","address":"2001:db8::1","port":443,
          "verdict":"ended","rule":"","reason":"","bytesOut":10,"bytesIn":2048,"count":1})");
  EXPECT_EQ(record_line(ended),
            "t  ended     tcp   a.example ([2001:db8::1]):443  out 10 B, in 2.0 KiB");
  EXPECT_EQ(record_line(boost::json::parse("[]")).find('\n'), std::string::npos);
}

TEST(CopyPathTest, TellsBoxesFromFiles) {
  auto box = parse_copy_path("i123abc:/srv/app").value();
  EXPECT_EQ(box.box, "i123abc");
  EXPECT_EQ(box.path, "/srv/app");
  EXPECT_EQ(parse_copy_path("./a:b").value().path, "./a:b");
  EXPECT_EQ(parse_copy_path("/x/i1:y").value().box, "");
  EXPECT_EQ(parse_copy_path("file").value().path, "file");
  EXPECT_EQ(parse_copy_path("i1:rel:ative").value().path, "rel:ative");
  for (const char* text : {"", "i1:", "I1:/x", "a-b:/x", ":/x"})
    EXPECT_FALSE(parse_copy_path(text)) << text;
}

TEST(CopyPathTest, NamesAndJoins) {
  EXPECT_EQ(last_component("/a/b/"), "b");
  EXPECT_EQ(last_component("b"), "b");
  EXPECT_EQ(last_component("/"), "");
  EXPECT_EQ(last_component("a/.."), "");
  EXPECT_EQ(last_component("."), "");
  EXPECT_EQ(join_path("/a", "b"), "/a/b");
  EXPECT_EQ(join_path("/a/", "b"), "/a/b");
}

TEST(Text, TablesAlign) {
  EXPECT_EQ(format_table({{"ID", "STATE"}, {"i1234", "running"}}),
            "ID     STATE\ni1234  running\n");
  EXPECT_EQ(format_table({}), "");
}

TEST(Text, StrangersCannotDriveTheTerminal) {
  EXPECT_EQ(printable("a\x1b[2Jb\n\tc\x7f"), "a\\x1b[2Jb\n\tc\\x7f");
  EXPECT_EQ(printable_field("a\nb"), "a\\x0ab");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m \xc3\xa9"),
            "\\xc2\\x9b31m \xc3\xa9");
}

TEST(Text, Sizes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(uint64_t{200} << 20), "200 MiB");
}

TEST(Text, ExitStatusIsAShells) {
  EXPECT_EQ(passed_exit_status(0, true, "exit status 0"), 0);
  EXPECT_EQ(passed_exit_status(3, true, "exit status 3"), 3);
  EXPECT_EQ(passed_exit_status(-1, false, "signal: killed"), 137);
  EXPECT_EQ(passed_exit_status(-1, false, "signal: terminated"), 143);
  EXPECT_EQ(passed_exit_status(-1, false, "signal: segmentation fault (core dumped)"), 139);
  EXPECT_EQ(passed_exit_status(-1, false, "signal: SIGINT"), 130);
  EXPECT_EQ(passed_exit_status(-1, false, "signal: 9"), 137);
  EXPECT_EQ(passed_exit_status(-1, false, "signal: something new"), 137);
  for (int number : {1, 2, 3, 6, 9, 11, 13, 14, 15}) {
    auto end = wire::describe_end(0, number);
    EXPECT_EQ(passed_exit_status(end.exit_code, end.exited, end.status), 128 + number)
        << end.status;
  }
}

TEST(Text, StartFailuresAreToldApart) {
  auto status = [](ErrorCode code, const char* text) {
    return start_failure_status(Error(code, text));
  };
  EXPECT_EQ(status(ErrorCode::invalid_argument, "command 'nope' not found"), 127);
  EXPECT_EQ(status(ErrorCode::not_found, "start '/x': No such file or directory"), 127);
  EXPECT_EQ(status(ErrorCode::permission_denied, "'/etc' is not an executable file"), 126);
  EXPECT_EQ(status(ErrorCode::invalid_argument, "start '/x': Exec format error"), 126);
  EXPECT_EQ(status(ErrorCode::invalid_argument, "cwd '/no such file' does not exist"),
            std::nullopt);
  EXPECT_EQ(status(ErrorCode::unauthenticated, "unknown user"), std::nullopt);
}

TEST(Text, JsonForPeople) {
  boost::json::value value = boost::json::parse(R"({"a":[1,{"b":"x\n"}],"c":{},"d":[]})");
  EXPECT_EQ(pretty_json(value),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x\\n\"\n    }\n  ],\n  \"c\": {},\n"
            "  \"d\": []\n}\n");
}

TEST(LogTail, FindsWhatIsNew) {
  EXPECT_EQ(first_new_line({}, {"a"}), 0u);
  EXPECT_EQ(first_new_line({"a", "b"}, {"a", "b", "c"}), 2u);
  EXPECT_EQ(first_new_line({"a", "b"}, {"b", "c"}), 1u);
  EXPECT_EQ(first_new_line({"a", "b"}, {"a", "bc"}), 0u);
  EXPECT_EQ(first_new_line({"a"}, {"x", "y"}), 0u);
}

TEST(ServiceStateTest, KeepsWhatWasStarted) {
  ServiceState state;
  state.supervisor = {123, 456};
  state.roles.push_back({"node", {7, 8}, 2, "exit status 1"});
  auto back = state_from_json(state_to_json(state)).value();
  EXPECT_EQ(back.supervisor.pid, 123);
  EXPECT_EQ(back.supervisor.start_time, 456u);
  ASSERT_EQ(back.roles.size(), 1u);
  EXPECT_EQ(back.roles[0].name, "node");
  EXPECT_EQ(back.roles[0].process.pid, 7);
  EXPECT_EQ(back.roles[0].restarts, 2);
  EXPECT_EQ(back.roles[0].last_end, "exit status 1");
}

TEST(ServiceStateTest, NeverNamesAGroupOfProcesses) {
  for (const char* text :
       {R"({"supervisor":{"pid":-1,"start_time":5}})", R"({"supervisor":{"pid":0,"start_time":5}})",
        R"({"supervisor":{"pid":99999999999,"start_time":5}})",
        R"({"supervisor":{"pid":"1","start_time":5}})", R"({})"})
    EXPECT_EQ(state_from_json(text).value().supervisor.pid, 0) << text;
  EXPECT_FALSE(state_from_json("[]"));
  EXPECT_FALSE(state_from_json("{"));
}

TEST(ServiceStateTest, KnowsItsProcesses) {
  uint64_t start = process_start_time(::getpid()).value();
  EXPECT_TRUE(is_alive({::getpid(), start}));
  EXPECT_FALSE(is_alive({::getpid(), start + 1}));
  EXPECT_FALSE(is_alive({0, start}));
}

TEST_F(Scratch, LogsAreBoundedAndTheirEndRead) {
  put("a.log", "one\ntwo\nthree\n");
  EXPECT_EQ(log_tail(path_ + "/a.log", 2), "two\nthree\n");
  EXPECT_EQ(log_tail(path_ + "/a.log", 9), "one\ntwo\nthree\n");
  EXPECT_EQ(log_tail(path_ + "/none", 2), "");
  ASSERT_TRUE(bound_log(path_ + "/a.log", 100));
  EXPECT_EQ(get("a.log"), "one\ntwo\nthree\n");
  ASSERT_TRUE(bound_log(path_ + "/a.log", 5));
  EXPECT_EQ(get("a.log"), "");
  EXPECT_EQ(get("a.log.1"), "one\ntwo\nthree\n");
}

TEST(AttackReport, CountsAndShowsWhatWasNotRefused) {
  AttackReport report;
  EXPECT_FALSE(report.holds()) << "nothing has been tried";
  ASSERT_TRUE(report.feed(R"({"id":"a","title":"one","verdict":"refused","how":"reset"})"
                          "\n{\"id\":\"b\",\"verd"));
  ASSERT_TRUE(report.feed("ict\":\"skipped\"}\n"));
  EXPECT_TRUE(report.holds());
  EXPECT_EQ(report.text(), "1 attacks tried, 1 refused, 0 not\n");
  ASSERT_TRUE(report.feed(
      R"({"id":"c","title":"two","verdict":"LEAKED","how":"\u001b[2J"})"
      "\n"));
  EXPECT_FALSE(report.holds());
  EXPECT_EQ(report.text(), "LEAKED c: two: \\x1b[2J\n2 attacks tried, 1 refused, 1 not\n");
}

TEST(AttackReport, BelievesNoBox) {
  for (const char* line : {"no JSON\n", "[]\n", "{\"id\":\"a\"}\n", "{\"verdict\":\"refused\"}\n"})
    EXPECT_FALSE(AttackReport().feed(line)) << line;
  AttackReport report;
  std::string piece(1 << 20, 'x');
  Result<void> fed = ok();
  for (int i = 0; i < 8 && fed; ++i) fed = report.feed(piece);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code(), ErrorCode::too_large);
}

TEST(AttackProbe, IsAProgram) {
  bool found = false;
  for (const ProbeFile& file : attack_probe()) {
    found |= file.name == "__main__.py" && file.text.find("core.main") != file.text.npos;
    EXPECT_TRUE(file.text.ends_with("\n")) << file.name;
  }
  EXPECT_TRUE(found);
}

TEST(Repository, IsAnHttpsUrlThatStandsForItself) {
  auto parsed = parse_repository("https://Git.Example/acme/app.git");
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(parsed.value().host, "git.example");
  EXPECT_EQ(parsed.value().target(), "git.example:443");
  EXPECT_EQ(parsed.value().folder, "app");
  EXPECT_EQ(parse_repository("https://a.b:8443/~me/x/y_z-1.2/").value().target(), "a.b:8443");
  EXPECT_EQ(parse_repository("https://a.b:8443/~me/x/y_z-1.2/").value().folder, "y_z-1.2");
  for (const char* url :
       {"", "http://a.b/c", "https://a.b", "https://a.b/", "https://a.b/..", "https://a.b/c/.git",
        "https://u:p@a.b/c", "https://u@a.b/c", "https://a.b:0/c", "https://a.b:x/c", "https:///c",
        "https://-a/c", "https://a.b/-c", "https://a.b/c d", "https://a.b/c'd", "https://a.b/c?x=y",
        "https://a.b//c", "ssh://a.b/c", "git@a.b:c", "https://a.b/c%2e"}) {
    auto wrong = parse_repository(url);
    EXPECT_FALSE(wrong) << url;
    if (!wrong) {
      EXPECT_EQ(wrong.error().code(), ErrorCode::invalid_argument);
    }
  }
}

TEST(Repository, TheBoxReachesItAloneUntilTheCloneIsThere) {
  BoxOptions box;
  box.confinement = {"confidential", "internet", {"evil.example"}, {"a.example"}};
  box.secrets = {"model"};
  auto repository = parse_repository("https://git.example/acme/app").value();
  BoxOptions cloning = box_for_clone(box, repository, "git");
  EXPECT_EQ(cloning.confinement.label, "");
  EXPECT_EQ(cloning.confinement.egress, "allow");
  EXPECT_EQ(cloning.confinement.allow, std::vector<std::string>{"git.example:443"});
  EXPECT_EQ(cloning.secrets, (std::vector<std::string>{"model", "git"}));
  EXPECT_EQ(box_for_clone(cloning, repository, "git").secrets.size(), 2u);
  CommandOptions options;
  options.user = "root";
  options.argv = {"make"};
  CommandOptions clone = clone_command(options, repository, "me", "placeholder");
  EXPECT_EQ(clone.user, "root");
  // What comes from outside is an argument of the script, and no part of it.
  EXPECT_EQ(clone.argv[2].find("git.example"), std::string::npos);
  EXPECT_EQ(clone.argv.back(), "placeholder");
  EXPECT_EQ(clone.argv[4], repository.url);
}

TEST(Usd, IsReadAndShownToTheLastMillionth) {
  for (auto [text, amount] : std::initializer_list<std::pair<const char*, int64_t>>{
           {"0", 0}, {"2.50", 2'500'000}, {"0.000001", 1}, {"12", 12'000'000},
           {"999999999.999999", 999'999'999'999'999}}) {
    auto read = parse_usd(text);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(read.value(), amount);
  }
  for (const char* wrong : {"", ".5", "1.", "-1", "1.0000001", "1e3", "$5", "1 ", "1.2.3",
                            "1000000000"}) {
    EXPECT_FALSE(parse_usd(wrong)) << wrong;
  }
  EXPECT_EQ(shown_usd(0), "$0.000000");
  EXPECT_EQ(shown_usd(1), "$0.000001");
  EXPECT_EQ(shown_usd(1'250'000), "$1.250000");
}

}  // namespace
}  // namespace hako::cli
