#include <gtest/gtest.h>

#include <string>

#include "wire/event_stream.h"
#include "wire/model_usage.h"

namespace hako::wire {
namespace {

using Told = UsageCounter::Told;

constexpr std::string_view kJson = "application/json; charset=utf-8";
constexpr std::string_view kEvents = "text/event-stream; charset=utf-8";

UsageCounter::Outcome count(ModelDialect dialect, std::string_view type, std::string_view answer,
                            size_t piece, bool in_order) {
  UsageCounter counter(dialect, type);
  for (size_t at = 0; at < answer.size(); at += piece) counter.feed(answer.substr(at, piece));
  return counter.finish(in_order);
}

/// The outcome for an answer, which must not depend on the pieces in which it comes.
UsageCounter::Outcome read(ModelDialect dialect, std::string_view type, std::string_view answer,
                           bool in_order = true) {
  auto whole = count(dialect, type, answer, answer.size() + 1, in_order);
  for (size_t piece : {1, 2, 3, 5, 7, 16, 61}) {
    auto same = count(dialect, type, answer, piece, in_order);
    EXPECT_EQ(same.told, whole.told) << piece;
    EXPECT_EQ(same.usage, whole.usage) << piece;
  }
  return whole;
}

ModelUsage usage(int64_t input, int64_t cached, int64_t written, int64_t output,
                 int64_t written_1h = 0) {
  return {.input_tokens = input,
          .cached_tokens = cached,
          .cache_write_tokens = written,
          .cache_write_1h_tokens = written_1h,
          .output_tokens = output};
}

constexpr std::string_view kMessage =
    R"({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text",)"
    R"("text":"\"usage\":{\"input_tokens\":9}"}],"stop_reason":"end_turn","usage":{"input_tokens":12,)"
    R"("cache_creation_input_tokens":300,"cache_read_input_tokens":2000,"cache_creation":)"
    R"({"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":45,)"
    R"("service_tier":"standard"}})";

const std::string kMessageStart =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":"
    "\"message\",\"content\":[],\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":4,"
    "\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n"
    "event: ping\ndata: {\"type\": \"ping\"}\n\n";
const std::string kMessageDeltas =
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
    "{\"type\":\"text_delta\",\"text\":\"data: {\\\"usage\\\":{\\\"output_tokens\\\":99}}\\n\\n\"}}\n\n";
const std::string kMessageDelta =
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},"
    "\"usage\":{\"output_tokens\":15}}\n\n";
const std::string kMessageStop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

TEST(ModelUsage, MessagesPlain) {
  auto outcome = read(ModelDialect::messages, kJson, kMessage);
  EXPECT_EQ(outcome.told, Told::all);
  EXPECT_EQ(outcome.usage, usage(12, 2000, 300, 45, 200));
}

TEST(ModelUsage, MessagesStreamed) {
  auto outcome = read(ModelDialect::messages, kEvents,
                      kMessageStart + kMessageDeltas + kMessageDelta + kMessageStop);
  EXPECT_EQ(outcome.told, Told::all);
  EXPECT_EQ(outcome.usage, usage(25, 7, 4, 15));
}

TEST(ModelUsage, MessagesSayMoreOfTheInputAtTheEnd) {
  std::string delta =
      "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"input_tokens\":472,"
      "\"cache_read_input_tokens\":7,\"output_tokens\":89}}\r\n\r\n";
  auto outcome =
      read(ModelDialect::messages, kEvents, kMessageStart + delta + kMessageDelta + kMessageStop);
  EXPECT_EQ(outcome.told, Told::all);
  EXPECT_EQ(outcome.usage, usage(472, 7, 4, 89));
}

TEST(ModelUsage, AStreamCutAnywhereNeverSaysAll) {
  std::string answer = kMessageStart + kMessageDeltas + kMessageDelta + kMessageStop;
  // Of the last event only the two line ends may be missing, and only if the body ended in order.
  for (size_t length = 0; length < answer.size(); ++length) {
    auto cut = count(ModelDialect::messages, kEvents, answer.substr(0, length), 9, false);
    EXPECT_NE(cut.told, Told::all) << length;
    EXPECT_LE(cut.usage.output_tokens, 15);
    if (length >= kMessageStart.size()) {
      EXPECT_EQ(cut.told, Told::part) << length;
      EXPECT_EQ(cut.usage.input_tokens, 25) << length;
    }
  }
  // Of half an event nothing counts: who knows what the other half says.
  auto half = kMessageStart.substr(0, kMessageStart.find("\"cache_read_input_tokens\""));
  EXPECT_EQ(read(ModelDialect::messages, kEvents, half, false).told, Told::nothing);
  EXPECT_EQ(read(ModelDialect::messages, kJson, kMessage.substr(0, kMessage.size() - 1), false).told,
            Told::nothing);
  auto no_delta = read(ModelDialect::messages, kEvents, kMessageStart + kMessageDeltas, false);
  EXPECT_EQ(no_delta.usage, usage(25, 7, 4, 1));
}

TEST(ModelUsage, AnErrorInTheStream) {
  std::string error =
      "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
  EXPECT_EQ(read(ModelDialect::messages, kEvents, kMessageStart + error).told, Told::part);
  EXPECT_EQ(read(ModelDialect::messages, kEvents, error).told, Told::nothing);
}

constexpr std::string_view kChatChunks =
    "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n"
    ": keep-alive\n\n"
    "data: {\"id\":\"c\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
constexpr std::string_view kChatUsage =
    "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":2006,\"completion_tokens\":300,"
    "\"total_tokens\":2306,\"prompt_tokens_details\":{\"cached_tokens\":1920,\"audio_tokens\":0},"
    "\"completion_tokens_details\":{\"reasoning_tokens\":250}}}\n\n";
constexpr std::string_view kChatDone = "data: [DONE]\n\n";

TEST(ModelUsage, ChatPlain) {
  auto outcome = read(ModelDialect::chat, kJson,
                      R"({"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":10,)"
                      R"("completion_tokens":5,"total_tokens":15}})");
  EXPECT_EQ(outcome.told, Told::all);
  EXPECT_EQ(outcome.usage, usage(10, 0, 0, 5));
}

TEST(ModelUsage, ChatStreamed) {
  std::string answer;
  answer.append(kChatChunks).append(kChatUsage).append(kChatDone);
  auto outcome = read(ModelDialect::chat, kEvents, answer);
  EXPECT_EQ(outcome.told, Told::all);
  EXPECT_EQ(outcome.usage, usage(86, 1920, 0, 300));

  // Without the counts nothing is known, however orderly it ends.
  answer.assign(kChatChunks).append(kChatDone);
  EXPECT_EQ(read(ModelDialect::chat, kEvents, answer).told, Told::nothing);
  // Without the mark it depends on whether the body was whole.
  answer.assign(kChatChunks).append(kChatUsage);
  EXPECT_EQ(read(ModelDialect::chat, kEvents, answer, true).told, Told::all);
  EXPECT_EQ(read(ModelDialect::chat, kEvents, answer, false).told, Told::part);
}

TEST(ModelUsage, ChatOfServersThatCountThoughtsApart) {
  auto outcome = read(ModelDialect::chat, kJson,
                      R"({"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":75}})");
  EXPECT_EQ(outcome.usage, usage(10, 0, 0, 65));
}

TEST(ModelUsage, ResponsesPlainAndStreamed) {
  std::string object =
      R"({"id":"resp_1","object":"response","status":"completed","output":[],"usage":)"
      R"({"input_tokens":36,"input_tokens_details":{"cached_tokens":30},"output_tokens":87,)"
      R"("output_tokens_details":{"reasoning_tokens":80},"total_tokens":123}})";
  auto plain = read(ModelDialect::responses, kJson, object);
  EXPECT_EQ(plain.told, Told::all);
  EXPECT_EQ(plain.usage, usage(6, 30, 0, 87));

  std::string begin =
      "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n"
      "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
      "\"delta\":\"response.completed\"}\n\n";
  for (std::string type : {"response.completed", "response.incomplete", "response.failed"}) {
    std::string end = "event: " + type + "\ndata: {\"type\":\"" + type + "\",\"response\":" + object +
                      "}\n\n";
    auto streamed = read(ModelDialect::responses, kEvents, begin + end, false);
    EXPECT_EQ(streamed.told, Told::all);
    EXPECT_EQ(streamed.usage, plain.usage);
    EXPECT_EQ(read(ModelDialect::responses, kEvents, begin + end.substr(0, end.size() - 3), false)
                  .told,
              Told::nothing);
  }
  EXPECT_EQ(read(ModelDialect::responses, kEvents, begin).told, Told::nothing);
}

const std::string kGenerateChunk =
    R"({"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":100,)"
    R"("cachedContentTokenCount":60,"candidatesTokenCount":3,"thoughtsTokenCount":40,)"
    R"("totalTokenCount":143}})";
const std::string kGenerateLast =
    R"({"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}],"usageMetadata":)"
    R"({"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":9,)"
    R"("thoughtsTokenCount":50,"toolUsePromptTokenCount":8,"totalTokenCount":167}})";

TEST(ModelUsage, GenerateInAllItsForms) {
  auto plain = read(ModelDialect::generate, kJson, kGenerateLast);
  EXPECT_EQ(plain.told, Told::all);
  EXPECT_EQ(plain.usage, usage(48, 60, 0, 59));

  auto array = read(ModelDialect::generate, kJson, "[" + kGenerateChunk + ",\r\n" + kGenerateLast + "]");
  EXPECT_EQ(array.told, Told::all);
  EXPECT_EQ(array.usage, plain.usage);

  std::string events = "data: " + kGenerateChunk + "\r\n\r\ndata: " + kGenerateLast + "\r\n\r\n";
  auto streamed = read(ModelDialect::generate, kEvents, events);
  EXPECT_EQ(streamed.told, Told::all);
  EXPECT_EQ(streamed.usage, plain.usage);
}

TEST(ModelUsage, GenerateCut) {
  auto array = read(ModelDialect::generate, kJson, "[" + kGenerateChunk + ",", false);
  EXPECT_EQ(array.told, Told::part);
  EXPECT_EQ(array.usage, usage(40, 60, 0, 43));
  // A stream that ends in order, but says of no candidate that it has ended.
  auto events = read(ModelDialect::generate, kEvents, "data: " + kGenerateChunk + "\n\n");
  EXPECT_EQ(events.told, Told::part);
  EXPECT_EQ(events.usage, array.usage);
}

TEST(ModelUsage, GenerateBlocked) {
  auto outcome =
      read(ModelDialect::generate, kJson,
           R"({"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":12,)"
           R"("totalTokenCount":12}})");
  EXPECT_EQ(outcome.told, Told::all);
  EXPECT_EQ(outcome.usage, usage(12, 0, 0, 0));
}

TEST(ModelUsage, NumbersThatAreNoCounts) {
  for (std::string_view number : {"-1", "1.5", "1e400", "99999999999999999999", "2000000000000"}) {
    std::string answer = R"({"usage":{"input_tokens":3,"output_tokens":)";
    answer.append(number).append("}}");
    auto outcome = read(ModelDialect::messages, kJson, answer);
    EXPECT_NE(outcome.told, Told::all) << number;
    EXPECT_GE(outcome.usage.output_tokens, 0);
  }
  // Parts that say more than the whole.
  auto odd = read(ModelDialect::chat, kJson,
                  R"({"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":)"
                  R"({"cached_tokens":50}}})");
  EXPECT_EQ(odd.usage, usage(0, 50, 0, 2));
}

TEST(ModelUsage, WhatIsNoAnswerOfAModel) {
  for (std::string_view type : {kJson, kEvents, std::string_view("text/html")}) {
    for (std::string_view answer :
         {"", "<html>", "null", "[]", "{}", "data", "data:\n\n", R"({"usage":7})",
          R"({"a/usage/input_tokens":1,"/usage/output_tokens":2})", "{\"usage\":{\"input_tokens\":1}"}) {
      for (ModelDialect dialect : {ModelDialect::messages, ModelDialect::chat,
                                   ModelDialect::responses, ModelDialect::generate}) {
        EXPECT_NE(read(dialect, type, answer).told, Told::all) << answer;
      }
    }
  }
}

TEST(ModelUsage, AnEventThatIsNoJsonSpoilsTheCount) {
  std::string answer = kMessageStart + "data: {\"type\":\n\n" + kMessageDelta + kMessageStop;
  EXPECT_EQ(read(ModelDialect::messages, kEvents, answer).told, Told::part);
}

std::vector<std::string> events_of(std::string_view bytes, size_t piece, bool finish) {
  std::vector<std::string> events;
  std::string data;
  EventStream stream([&](std::string_view part) { data.append(part); },
                     [&] {
                       events.push_back(data);
                       data.clear();
                     });
  for (size_t at = 0; at < bytes.size(); at += piece) stream.feed(bytes.substr(at, piece));
  if (finish) stream.finish();
  return events;
}

TEST(EventStream, AsTheStandardHasIt) {
  using Events = std::vector<std::string>;
  struct Case {
    std::string_view bytes;
    Events events;
  };
  const Case cases[] = {
      {"data: a\n\n", {"a"}},
      {"data:a\r\n\r\n", {"a"}},
      {"data:a\r\rdata:b\r\r", {"a", "b"}},
      {"data:  a\n\n", {" a"}},
      {"data: a\ndata: b\n\n", {"a\nb"}},
      {"data\ndata\n\n", {"\n"}},
      {"data\n\n", {""}},
      {"event: x\n\n", {}},
      {": comment\ndata: a\nid: 1\nretry: 2\nda: c\ndatas: d\n\n", {"a"}},
      {"\xef\xbb\xbf" "data: a\n\n", {"a"}},
      {" data: a\n\n", {}},
      {"Data: a\n\n", {}},
      {"data: a:b: c\n\n", {"a:b: c"}},
  };
  for (const Case& one : cases) {
    for (size_t piece = 1; piece <= one.bytes.size(); ++piece) {
      EXPECT_EQ(events_of(one.bytes, piece, false), one.events) << one.bytes << " by " << piece;
    }
  }
  EXPECT_EQ(events_of("data: a", 1, false), Events{});
  EXPECT_EQ(events_of("data: a", 1, true), Events{"a"});
  EXPECT_EQ(events_of("data: a\n", 1, true), Events{"a"});
}

}  // namespace
}  // namespace hako::wire
