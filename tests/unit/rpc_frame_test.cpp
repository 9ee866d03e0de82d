#include "rpc/frame.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace hako::rpc {
namespace {

Fd some_fd() {
  return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

std::string raw_frame(uint32_t length, uint32_t fds, std::string_view text) {
  std::string frame;
  for (uint32_t value : {length, fds})
    for (int i = 0; i < 4; ++i) frame += static_cast<char>(value >> (8 * i));
  return frame + std::string(text);
}

std::string raw_frame(std::string_view text, uint32_t fds = 0) {
  return raw_frame(static_cast<uint32_t>(text.size()), fds, text);
}

Message request(uint64_t id, std::string method) {
  Message message;
  message.kind = Message::Kind::request;
  message.id = id;
  message.method = std::move(method);
  message.body["x"] = "y";
  return message;
}

Result<std::optional<Message>> decode(std::string_view bytes, int fds = 0) {
  FrameDecoder decoder;
  decoder.add_bytes(bytes);
  for (int i = 0; i < fds; ++i) decoder.add_fd(some_fd());
  return decoder.next();
}

TEST(RpcFrame, EveryKindComesBackAsItWent) {
  Message failure;
  failure.kind = Message::Kind::failure;
  failure.id = 7;
  failure.error = Error(ErrorCode::not_found, "no such box");
  auto frame = encode_frame(failure);
  ASSERT_TRUE(frame);
  auto back = decode(frame.value());
  ASSERT_TRUE(back && back.value());
  EXPECT_EQ(back.value()->kind, Message::Kind::failure);
  EXPECT_EQ(back.value()->id, 7u);
  EXPECT_EQ(back.value()->error->code(), ErrorCode::not_found);
  EXPECT_EQ(back.value()->error->message(), "no such box");

  frame = encode_frame(request(UINT64_MAX, "box.create"));
  back = decode(frame.value());
  ASSERT_TRUE(back && back.value());
  EXPECT_EQ(back.value()->kind, Message::Kind::request);
  EXPECT_EQ(back.value()->id, UINT64_MAX);
  EXPECT_EQ(back.value()->method, "box.create");
  EXPECT_EQ(back.value()->body["x"], "y");

  Message notice = request(0, "box.gone");
  notice.kind = Message::Kind::notice;
  back = decode(encode_frame(notice).value());
  ASSERT_TRUE(back && back.value());
  EXPECT_EQ(back.value()->kind, Message::Kind::notice);

  Message answer;
  answer.kind = Message::Kind::answer;
  answer.id = 3;
  back = decode(encode_frame(answer).value());
  ASSERT_TRUE(back && back.value());
  EXPECT_EQ(back.value()->kind, Message::Kind::answer);
}

TEST(RpcFrame, AnySplitOfTheBytesGivesTheSameMessages) {
  std::string stream =
      encode_frame(request(1, "a")).value() + encode_frame(request(2, "b")).value();
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameDecoder decoder;
    std::vector<uint64_t> ids;
    for (auto part : {stream.substr(0, cut), stream.substr(cut)}) {
      decoder.add_bytes(part);
      for (;;) {
        auto next = decoder.next();
        ASSERT_TRUE(next);
        if (!next.value()) break;
        ids.push_back(next.value()->id);
      }
    }
    EXPECT_EQ(ids, (std::vector<uint64_t>{1, 2})) << cut;
    EXPECT_EQ(decoder.buffered_bytes(), 0u);
  }
}

TEST(RpcFrame, DescriptorsGoToTheFramesThatDeclareThem) {
  Message first = request(1, "a");
  first.fds.push_back(some_fd());
  Message second = request(2, "b");
  second.fds.push_back(some_fd());
  second.fds.push_back(some_fd());
  FrameDecoder decoder;
  decoder.add_bytes(encode_frame(first).value() + encode_frame(request(9, "none")).value() +
                    encode_frame(second).value());
  std::vector<int> given;
  for (int i = 0; i < 3; ++i) {
    Fd fd = some_fd();
    given.push_back(fd.get());
    decoder.add_fd(std::move(fd));
  }
  auto a = decoder.next();
  ASSERT_TRUE(a && a.value());
  ASSERT_EQ(a.value()->fds.size(), 1u);
  EXPECT_EQ(a.value()->fds[0].get(), given[0]);
  auto none = decoder.next();
  ASSERT_TRUE(none && none.value());
  EXPECT_TRUE(none.value()->fds.empty());
  auto b = decoder.next();
  ASSERT_TRUE(b && b.value());
  ASSERT_EQ(b.value()->fds.size(), 2u);
  EXPECT_EQ(b.value()->fds[1].get(), given[2]);
  auto end = decoder.next();
  ASSERT_TRUE(end);
  EXPECT_FALSE(end.value());
}

TEST(RpcFrame, DescriptorsNobodyDeclaredAreAnError) {
  // The frame itself is fine, what is left after it is not.
  FrameDecoder decoder;
  decoder.add_bytes(raw_frame(R"({"id":1})"));
  decoder.add_fd(some_fd());
  EXPECT_TRUE(decoder.next());
  EXPECT_FALSE(decoder.next());

  EXPECT_FALSE(decode(raw_frame(R"({"id":1})").substr(0, 9), 1));
  EXPECT_FALSE(decode("", 1));
  // Of a frame whose header is not here yet, the count is not known.
  EXPECT_TRUE(decode("abc", 1));
  EXPECT_FALSE(decode("abc", kMostFdsInFrame + 1));
}

TEST(RpcFrame, DeclaredDescriptorsThatDidNotComeAreAnError) {
  EXPECT_FALSE(decode(raw_frame(R"({"id":1})", 1)));
  EXPECT_FALSE(decode(raw_frame(R"({"id":1})", 2), 1));
  EXPECT_TRUE(decode(raw_frame(R"({"id":1})", 1), 1));
}

TEST(RpcFrame, AnErrorKeepsTheErrnoBehindIt) {
  Message failure;
  failure.kind = Message::Kind::failure;
  failure.id = 7;
  failure.error = Error::from_errno(EBUSY, "connect").with_context("outer");
  FrameDecoder decoder;
  decoder.add_bytes(encode_frame(failure).value());
  auto decoded = decoder.next();
  ASSERT_TRUE(decoded && decoded.value());
  EXPECT_EQ(decoded.value()->error->os_error(), EBUSY);
  EXPECT_EQ(decoded.value()->error->code(), failure.error->code());
  EXPECT_EQ(decoded.value()->error->message(), failure.error->message());
  failure.error = Error(ErrorCode::internal, "no call");
  decoder.add_bytes(encode_frame(failure).value());
  decoded = decoder.next();
  ASSERT_TRUE(decoded && decoded.value());
  EXPECT_EQ(decoded.value()->error->os_error(), 0);
}

TEST(RpcFrame, HostileFramesAreErrors) {
  auto oversized = decode(raw_frame(kLongestFrame + 1, 0, ""));
  ASSERT_FALSE(oversized);
  EXPECT_EQ(oversized.error().code(), ErrorCode::too_large);
  EXPECT_FALSE(decode(raw_frame(2, kMostFdsInFrame + 1, "{}")));
  for (const char* text :
       {"", "{", "[]", "1", "{}", R"({"id":-1})", R"({"id":"1"})", R"({"id":1.5})",
        R"({"method":""})", R"({"method":5})", R"({"id":1,"body":[]})", R"({"id":1,"error":{}})",
        R"({"id":1,"error":{"code":1,"message":"x"}})", R"({"id":1} x)",
        R"({"id":1,"error":{"code":"internal","message":"","errno":0}})",
        R"({"id":1,"error":{"code":"internal","message":"","errno":4096}})",
        R"({"id":1,"error":{"code":"internal","message":"","errno":"5"}})",
        R"({"id":1,"method":"m","error":{"code":"internal","message":""}})",
        R"({"id":1,"body":{},"error":{"code":"internal","message":""}})"}) {
    EXPECT_FALSE(decode(raw_frame(text))) << text;
  }
  EXPECT_FALSE(decode(raw_frame(R"({"method":")" + std::string(kLongestMethod + 1, 'm') + "\"}")));
  EXPECT_FALSE(decode(raw_frame(std::string(100, '['))));
}

TEST(RpcFrame, WhatMayNotBeSentIsNotEncoded) {
  EXPECT_FALSE(encode_frame(request(1, "")));
  EXPECT_FALSE(encode_frame(request(1, std::string(kLongestMethod + 1, 'm'))));
  Message large = request(1, "m");
  large.body["x"] = std::string(kLongestFrame, 'x');
  auto result = encode_frame(large);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::too_large);
  Message many = request(1, "m");
  for (size_t i = 0; i <= kMostFdsInFrame; ++i) many.fds.push_back(some_fd());
  EXPECT_FALSE(encode_frame(many));
}

}  // namespace
}  // namespace hako::rpc
