#include <gtest/gtest.h>

#include <csignal>

#include "wire/connect.h"
#include "wire/filesystem.h"
#include "wire/json_text.h"
#include "wire/process.h"
#include "wire/signature.h"

namespace hako::wire {
namespace {

namespace json = boost::json;

std::string frame(std::string_view payload, uint8_t flags = 0) {
  std::string out;
  size_t start = begin_frame(out, flags);
  out += payload;
  end_frame(out, start);
  return out;
}

/// All frames of `stream`, fed in two parts.
std::vector<std::string> decode_split(std::string_view stream, size_t split) {
  FrameDecoder decoder(1000);
  std::vector<std::string> payloads;
  for (std::string_view part : {stream.substr(0, split), stream.substr(split)}) {
    decoder.feed(part);
    for (;;) {
      auto next = decoder.next();
      if (!next) return {"error: " + next.error().message()};
      if (!next.value()) break;
      payloads.emplace_back(next.value()->payload);
    }
  }
  if (!decoder.at_boundary()) payloads.push_back("unfinished");
  return payloads;
}

TEST(FrameDecoder, FindsTheSameFramesHoweverTheyAreSplit) {
  std::string stream =
      frame("{\"a\":1}") + frame("") + frame(std::string(300, 'x')) + frame("{}", kFrameEnd);
  std::vector<std::string> whole{"{\"a\":1}", "", std::string(300, 'x'), "{}"};
  for (size_t split = 0; split <= stream.size(); ++split)
    EXPECT_EQ(decode_split(stream, split), whole) << "split at " << split;
}

TEST(FrameDecoder, KnowsWhereAStreamMayNotEnd) {
  std::string stream = frame("abc");
  for (size_t length = 1; length < stream.size(); ++length) {
    FrameDecoder decoder(1000);
    decoder.feed(std::string_view(stream).substr(0, length));
    auto next = decoder.next();
    ASSERT_TRUE(next);
    EXPECT_FALSE(next.value());
    EXPECT_FALSE(decoder.at_boundary());
  }
}

TEST(FrameDecoder, RefusesAFrameOverTheLimitBeforeItHasArrived) {
  FrameDecoder decoder(10);
  decoder.feed(std::string_view("\0\0\0\0\x0b", 5));
  auto next = decoder.next();
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code(), ErrorCode::too_large);
  EXPECT_FALSE(decoder.next()) << "an error must not be forgotten";
}

TEST(FrameDecoder, RefusesCompressedFramesAndUnknownFlags) {
  for (uint8_t flags : {1, 3, 4, 0x80}) {
    FrameDecoder decoder(10);
    decoder.feed(std::string(1, static_cast<char>(flags)));
    EXPECT_FALSE(decoder.next()) << int{flags};
  }
}

TEST(EndFrame, CarriesSuccessOrTheError) {
  std::string good, bad;
  append_end_frame(good);
  append_end_frame(bad, Error(ErrorCode::timed_out, "too \"late\"\n"));
  FrameDecoder decoder(1000);
  decoder.feed(good + bad);
  auto first = decoder.next();
  ASSERT_TRUE(first && first.value() && first.value()->is_end());
  EXPECT_TRUE(parse_end_frame(first.value()->payload));
  auto second = decoder.next();
  ASSERT_TRUE(second && second.value());
  auto outcome = parse_end_frame(second.value()->payload);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), ErrorCode::timed_out);
  EXPECT_EQ(outcome.error().message(), "too \"late\"\n");
}

TEST(ConnectCodes, EveryCodeHasANameAndAStatus) {
  EXPECT_EQ(connect_code(ErrorCode::timed_out), "deadline_exceeded");
  EXPECT_EQ(connect_status(ErrorCode::timed_out), 504u);
  EXPECT_EQ(connect_code(ErrorCode::unsupported), "unimplemented");
  EXPECT_EQ(connect_code(ErrorCode::cancelled), "canceled");
  for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i) {
    auto code = static_cast<ErrorCode>(i);
    auto read_back = error_code_from_connect(connect_code(code));
    EXPECT_EQ(connect_code(read_back), connect_code(code));
  }
  EXPECT_EQ(error_code_from_connect("no_such_code"), ErrorCode::internal);
}

TEST(ConnectErrors, AreReadFromWhateverAServerSends) {
  auto named = parse_connect_error(404, R"({"code":"not_found","message":"gone"})");
  EXPECT_EQ(named.code(), ErrorCode::not_found);
  EXPECT_EQ(named.message(), "gone");
  auto numbered = parse_connect_error(401, R"({"code":401,"message":"no token"})");
  EXPECT_EQ(numbered.code(), ErrorCode::unauthenticated);
  EXPECT_EQ(numbered.message(), "no token");
  EXPECT_EQ(parse_connect_error(502, "<html>").code(), ErrorCode::unavailable);
}

TEST(Signature, MatchesTheContractsVector) {
  FileGrant grant{"hello.txt", "read", "user", {}};
  constexpr std::string_view kToken = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0";
  constexpr std::string_view kSignature = "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E";
  EXPECT_EQ(sign_files(grant, kToken), kSignature);
  EXPECT_TRUE(verify_signature(grant, kToken, kSignature, 0));
  grant.operation = "write";
  EXPECT_FALSE(verify_signature(grant, kToken, kSignature, 0));
}

TEST(Signature, ExpiresAndChecksTheExpiryLast) {
  FileGrant grant{"a", "read", "", 1000};
  std::string signature = sign_files(grant, "token");
  EXPECT_TRUE(verify_signature(grant, "token", signature, 1000));
  auto late = verify_signature(grant, "token", signature, 1001);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().message(), "signature is already expired");
  auto forged = verify_signature(grant, "other", signature, 1001);
  ASSERT_FALSE(forged);
  EXPECT_EQ(forged.error().message(), "invalid signature");
  grant.expires = 2000;
  EXPECT_FALSE(verify_signature(grant, "token", signature, 0)) << "the expiry is signed too";
}

TEST(JsonText, IsAlwaysValid) {
  std::string out;
  append_json_string(out, "a\"\\\n\x01\xff\xc3\xa9\xed\xa0\x80z");
  auto value = json::parse(out);
  EXPECT_EQ(value.as_string(),
            "a\"\\\n\x01\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
}

TEST(ProcessRequests, RoundTrip) {
  StartRequest request;
  request.process = {"sh", {"-c", "x \" y"}, {{"A", "1"}}, "/tmp"};
  request.pty = PtySize{120, 40};
  request.tag = "t";
  request.has_stdin = false;
  auto parsed = parse_start(to_json(request));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value().process.cmd, "sh");
  EXPECT_EQ(parsed.value().process.args, request.process.args);
  EXPECT_EQ(parsed.value().process.envs, request.process.envs);
  EXPECT_EQ(parsed.value().process.cwd, "/tmp");
  EXPECT_EQ(parsed.value().pty->cols, 120);
  EXPECT_EQ(parsed.value().tag, "t");
  EXPECT_EQ(parsed.value().has_stdin, false);
}

TEST(ProcessRequests, RefuseWrongTypes) {
  for (const char* text :
       {R"({})", R"({"process":1})", R"({"process":{}})", R"({"process":{"cmd":1}})",
        R"({"process":{"cmd":""}})", R"({"process":{"cmd":"a\u0000b"}})",
        R"({"process":{"cmd":"a","args":"b"}})", R"({"process":{"cmd":"a","args":[1]}})",
        R"({"process":{"cmd":"a","args":["\u0000"]}})", R"({"process":{"cmd":"a","envs":{"A":1}}})",
        R"({"process":{"cmd":"a","envs":{"A=B":"1"}}})",
        R"({"process":{"cmd":"a","envs":{"":"1"}}})",
        R"({"process":{"cmd":"a"},"pty":{"size":{"cols":-1}}})",
        R"({"process":{"cmd":"a"},"pty":{"size":{"cols":70000}}})",
        R"({"process":{"cmd":"a"},"stdin":"yes"})"}) {
    auto object = parse_object(text);
    ASSERT_TRUE(object) << text;
    auto parsed = parse_start(object.value());
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(ProcessRequests, TakeWhatProtoJsonAllows) {
  auto pid = parse_selector(*json::parse(R"({"process":{"pid":"12"}})").if_object());
  ASSERT_TRUE(pid);
  EXPECT_EQ(pid.value().pid, 12u);
  auto signal = parse_signal(*json::parse(R"({"signal":15})").if_object());
  ASSERT_TRUE(signal);
  EXPECT_EQ(signal.value(), SIGTERM);
  EXPECT_FALSE(parse_signal(*json::parse(R"({"signal":"SIGNAL_SIGHUP"})").if_object()));
  EXPECT_FALSE(parse_selector(*json::parse(R"({"process":{}})").if_object()));
  EXPECT_FALSE(parse_selector(*json::parse(R"({"process":{"pid":-1}})").if_object()));
}

TEST(ProcessInput, RoundTripsBytes) {
  std::string bytes("\0\x01\xff\n", 4);
  ProcessSelector selector;
  selector.pid = 7;
  auto request = parse_object(input_request(selector, true, bytes));
  ASSERT_TRUE(request);
  auto input = parse_input(request.value());
  ASSERT_TRUE(input);
  EXPECT_TRUE(input.value().to_pty);
  EXPECT_EQ(input.value().bytes, bytes);
}

std::vector<ProcessEvent> events_in(const std::string& frames) {
  FrameDecoder decoder(1 << 20);
  decoder.feed(frames);
  std::vector<ProcessEvent> events;
  for (auto next = decoder.next(); next && next.value(); next = decoder.next()) {
    auto event = parse_process_event(next.value()->payload);
    if (event) events.push_back(std::move(event.value()));
  }
  return events;
}

TEST(ProcessEvents, RoundTrip) {
  std::string frames;
  append_start_event(frames, 4711);
  append_data_event(frames, OutputStream::err, std::string("\0\xff", 2));
  append_keepalive_event(frames);
  append_end_event(frames, describe_end(-1, SIGKILL));
  auto events = events_in(frames);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].pid, 4711u);
  EXPECT_EQ(events[1].stream, OutputStream::err);
  EXPECT_EQ(events[1].bytes, std::string("\0\xff", 2));
  EXPECT_EQ(events[2].kind, ProcessEvent::Kind::keepalive);
  EXPECT_EQ(events[3].end.exit_code, -1);
  EXPECT_FALSE(events[3].end.exited);
  EXPECT_EQ(events[3].end.status, "signal: killed");
  EXPECT_EQ(events[3].end.error, "signal: killed");
}

TEST(ProcessEvents, TellExitCodes) {
  auto well = describe_end(0, 0), badly = describe_end(3, 0);
  EXPECT_TRUE(well.exited);
  EXPECT_EQ(well.error, "");
  EXPECT_EQ(badly.exit_code, 3);
  EXPECT_EQ(badly.error, "exit status 3");
}

TEST(ProcessEvents, HostileOnesAreErrorsOrUnknown) {
  for (const char* text :
       {"", "[]", "{}", R"({"event":1})", R"({"event":{"start":{"pid":-5}}})",
        R"({"event":{"data":{"stdout":"*"}}})", R"({"event":{"data":{"stdout":5}}})"})
    EXPECT_FALSE(parse_process_event(text)) << text;
  auto later = parse_process_event(R"({"event":{"something":{}}})");
  ASSERT_TRUE(later);
  EXPECT_EQ(later.value().kind, ProcessEvent::Kind::unknown);
}

TEST(Entry, RoundTrips) {
  EntryInfo entry;
  entry.name = "x\"y";
  entry.type = FileType::symlink;
  entry.path = "/tmp/x\"y";
  entry.size = 1ll << 40;
  entry.mode = 0755;
  entry.permissions = permission_text("d", 0755);
  entry.owner = "user";
  entry.group = "group";
  entry.modified_seconds = 1'700'000'000;
  entry.modified_nanoseconds = 123'456'789;
  entry.symlink_target = "/else";
  entry.metadata = {{"k", "v"}};
  std::string text;
  append_entry(text, entry);
  auto object = parse_object(text);
  ASSERT_TRUE(object) << text;
  EXPECT_EQ(object.value()["modifiedTime"], "2023-11-14T22:13:20.123456789Z");
  EXPECT_EQ(object.value()["size"], "1099511627776");
  auto parsed = parse_entry(object.value());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value().name, entry.name);
  EXPECT_EQ(parsed.value().type, entry.type);
  EXPECT_EQ(parsed.value().size, entry.size);
  EXPECT_EQ(parsed.value().permissions, "drwxr-xr-x");
  EXPECT_EQ(parsed.value().modified_seconds, entry.modified_seconds);
  EXPECT_EQ(parsed.value().modified_nanoseconds, entry.modified_nanoseconds);
  EXPECT_EQ(parsed.value().symlink_target, entry.symlink_target);
  EXPECT_EQ(parsed.value().metadata, entry.metadata);
  EXPECT_EQ(permission_text("", 0640), "-rw-r-----");
}

}  // namespace
}  // namespace hako::wire
