#include "gate/access_call.h"

#include <gtest/gtest.h>

#include "gate/message_peek.h"
#include "support/run_value.h"
#include "wire/connect.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using Told = AccessCall::Told;

http::RequestHead post(std::string target, std::string type = "application/json") {
  http::RequestHead head;
  head.method = http::Verb::post;
  head.target = std::move(target);
  head.fields.set(http::Field::content_type, type);
  return head;
}

std::string frame(std::string_view payload) {
  std::string out;
  size_t start = wire::begin_frame(out);
  out += payload;
  wire::end_frame(out, start);
  return out;
}

TEST(AccessCallTest, EveryMethodOfTheServicesIsKnown) {
  struct Case {
    const char *path, *kind, *action;
    Told told;
  };
  const Case cases[] = {
      {"/process.Process/Start", "command", "start", Told::with_answer},
      {"/process.Process/Connect", "command", "attach", Told::with_answer},
      {"/process.Process/StreamInput", "command", "input", Told::with_message},
      {"/process.Process/Update", "command", "resize", Told::never},
      {"/process.Process/New", "command", "other", Told::with_answer},
      {"/filesystem.Filesystem/WatchDir", "file", "watch", Told::with_answer},
      {"/filesystem.Filesystem/GetWatcherEvents", "file", "watch", Told::never},
      {"/files", "file", "write", Told::at_end},
      {"/files/compose", "file", "write", Told::with_answer},
      {"/health", "request", "look", Told::never},
      {"/envs", "request", "environment", Told::with_answer},
      {"/somewhere", "request", "other", Told::with_answer},
  };
  for (const Case& one : cases) {
    AccessCall call = call_of(post(one.path));
    EXPECT_EQ(call.kind, one.kind) << one.path;
    EXPECT_EQ(call.action, one.action) << one.path;
    EXPECT_EQ(call.told, one.told) << one.path;
  }
  // A record of a path that is nobody's says which, and not what else was in the target.
  auto head = post("/somewhere?token=secret");
  EXPECT_EQ(record_of(head, call_of(head)).what, "/somewhere");
}

TEST(AccessCallTest, ACommandLineReadsAsItWouldBeTyped) {
  wire::ProcessConfig config;
  config.cmd = "/bin/sh";
  config.args = {"-c", "echo \"$A\"; it's", "", "a\nb", "x=1,2"};
  EXPECT_EQ(command_line(config), "/bin/sh -c 'echo \"$A\"; it'\\''s' '' 'a\nb' x=1,2");
  config.args.assign(65536, std::string(100, 'a'));
  EXPECT_LT(command_line(config).size(), size_t{80 << 10});
}

TEST(AccessRecordTest, TextsAreCutToWhatTheNodeTakes) {
  AccessRecord record;
  record.what = std::string(5000, '\xff');
  record.detail = record.reason = record.user = record.key = std::string(5000, 'a');
  bound_texts(record);
  EXPECT_EQ(record.what, std::string(2048, '?'));
  EXPECT_EQ(record.detail.size(), 2048u);
  EXPECT_EQ(record.reason.size(), 512u);
  EXPECT_EQ(record.user.size(), 256u);
  EXPECT_EQ(record.key.size(), 64u);
  AccessRecord line;
  line.what = std::string(2049, 'a');
  bound_texts(line);
  EXPECT_EQ(line.reason, "cut after 2048 bytes");
}

TEST(MessagePeekTest, ReadsTheFirstMessageInPiecesOfAnySize) {
  const std::string message = R"({"process":{"cmd":"ls"}})";
  auto framed = post("/process.Process/Start", "application/connect+json; charset=utf-8");
  auto whole = post("/process.Process/List");
  const auto* method = wire::find_process_method("Start");
  for (size_t piece : {1, 3, 1000}) {
    size_t budget = 0;
    MessagePeek in_frame(framed, method, budget), plain(whole, method, budget);
    std::string bytes = frame(message) + frame("{}");
    for (size_t i = 0; i < bytes.size(); i += piece) in_frame.feed(bytes.substr(i, piece));
    ASSERT_TRUE(in_frame.message()) << in_frame.problem();
    EXPECT_EQ(*in_frame.message(), boost::json::parse(message));
    for (size_t i = 0; i < message.size(); i += piece) plain.feed(message.substr(i, piece));
    EXPECT_FALSE(plain.done());
    EXPECT_EQ(budget, message.size());
    plain.finish();
    ASSERT_TRUE(plain.message());
    EXPECT_EQ(budget, 0u);
  }
}

TEST(MessagePeekTest, KeepsNoMoreThanItMay) {
  auto head = post("/process.Process/List");
  const auto* method = wire::find_process_method("List");
  size_t budget = 0;
  {
    std::deque<MessagePeek> many;
    for (int i = 0; i < 5; ++i) {
      many.emplace_back(head, method, budget);
      many.back().feed(std::string(MessagePeek::kLargestMessage, ' '));
      EXPECT_LE(budget, MessagePeek::kLargestBudget);
    }
    EXPECT_FALSE(many[3].done());
    EXPECT_EQ(many[4].problem(), "too many messages were on their way at once");
  }
  EXPECT_EQ(budget, 0u);
  MessagePeek one(head, method, budget);
  one.feed(std::string(MessagePeek::kLargestMessage + 1, ' '));
  EXPECT_EQ(one.problem(), "it is longer than 1048576 bytes");
  EXPECT_EQ(budget, 0u);
}

AccessRecord sample(std::string_view kind, std::string_view verdict, std::string what) {
  AccessRecord record;
  record.kind = kind;
  record.action = kind == "command" ? "start" : "read";
  record.verdict = verdict;
  record.what = std::move(what);
  return record;
}

TEST(AccessQueueTest, NoFloodPushesOutACommand) {
  std::vector<boost::json::object> told;
  size_t most_text = 0;
  SendRecords send = [&](const std::string&, const std::string&, boost::json::array records) {
    size_t text = 0;
    for (auto& record : records) {
      told.push_back(record.as_object());
      text += told.back().at("what").as_string().size();
    }
    most_text = std::max(most_text, text);
    return true;
  };
  RecordQueue<AccessRecord> queue(send);
  for (int i = 0; i < 3000; ++i) {
    std::string what = std::to_string(i) + std::string(2000, 'a');
    queue.add("m1", "box1", sample("file", "denied", what));
    queue.add("m1", "box1", sample("file", "allowed", what));
  }
  for (size_t i = 0; i < AccessRecord::kMostCommands; ++i)
    queue.add("m1", "box1", sample("command", "allowed", "same"));
  queue.send_all();
  size_t commands = 0, denied = 0, others = 0;
  int64_t dropped = 0;
  for (const auto& record : told) {
    bool is_command = record.at("kind") == "command";
    commands += is_command;
    denied += record.at("verdict") == "denied";
    others += !is_command && record.at("verdict") == "allowed";
    if (record.at("verdict") == "dropped") dropped = record.at("count").to_number<int64_t>();
  }
  EXPECT_EQ(commands, AccessRecord::kMostCommands);
  EXPECT_EQ(denied, AccessRecord::kMostDenied);
  EXPECT_EQ(others, AccessRecord::kMostOthers);
  EXPECT_EQ(dropped, 6000 - static_cast<int64_t>(denied + others));
  EXPECT_LE(most_text, RecordQueue<AccessRecord>::kMostTextInMessage);
}

TEST(AccessQueueTest, WhatOneMachineHasIsSentAlone) {
  std::vector<std::string> machines;
  bool away = true;
  SendRecords send = [&](const std::string& machine, const std::string&, boost::json::array) {
    if (!away) machines.push_back(machine);
    return !away;
  };
  RecordQueue<AccessRecord> queue(send);
  for (const char* machine : {"m1", "m2", "m10"})
    queue.add(machine, "box" + std::string(machine), sample("file", "allowed", "x"));
  queue.send_of("m1");
  EXPECT_TRUE(machines.empty());
  away = false;
  queue.send_of("m1");
  EXPECT_EQ(machines, std::vector<std::string>{"m1"});
  queue.send_all();
  EXPECT_EQ(machines.size(), 3u);
}

}  // namespace
}  // namespace hako::gate
