#include <gtest/gtest.h>

#include <array>

#include "wire/http_start.h"

namespace hako::wire {
namespace {

using namespace std::string_view_literals;
using enum ConnectionStart;

ConnectionStart judge(std::string_view text) {
  return judge_start({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

/// The answer for `text`, which must not change with what follows, nor with how it arrives.
ConnectionStart settled(std::string_view text) {
  ConnectionStart first = incomplete;
  for (size_t length = 0; length <= text.size(); ++length) {
    auto now = judge(text.substr(0, length));
    if (first == incomplete) first = now;
    EXPECT_EQ(now, first) << text.substr(0, length);
  }
  if (first == incomplete) return first;
  for (std::string_view more : {" HTTP/1.1\r\n"sv, "\n"sv, "\0"sv, "/"sv, "x"sv})
    EXPECT_EQ(judge(std::string(text) + std::string(more)), first) << text;
  return first;
}

TEST(ConnectionStart, Requests) {
  for (std::string_view text :
       {"GET / HTTP/1.1\r\nHost: a\r\n\r\n"sv, "POST /x HTTP/1.0\r\n"sv, "OPTIONS * HTTP/1.1\r\n"sv,
        "CONNECT a.example:443 HTTP/1.1\r\n"sv, "GET http://a.example/ HTTP/1.1\r\n"sv,
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"sv, "M-SEARCH * HTTP/1.1\r\n"sv,
        "X.1!y /a HTTP/1.1\r\n"sv, "GET /"sv, "HEAD *"sv})
    EXPECT_EQ(settled(text), http) << text;
}

TEST(ConnectionStart, WhatLenientServersTakeForRequests) {
  for (std::string_view text :
       {"\r\nGET / HTTP/1.1\r\n"sv, "\n\n\r\r\n GET / HTTP/1.1\n"sv, "get / http/1.1\r\n"sv,
        "GET\t/\tHTTP/1.1\r\n"sv, "GET  \r / HTTP/1.1\r\n"sv, "GET\x0b/\x0cHTTP/1.1\n"sv,
        "GET x HTTP/1.1\r\n"sv, "GET HTTP/1.1\r\n"sv, "GET \x01\xff HTTP/1.1\r\n"sv,
        "GET \xa0\x85\x1c/ HTTP/1.1\n"sv, "GET /\r\n"sv, "GET HTTPS://a/\r\n"sv,
        "PUT /a b c d HTTP/9\r\n"sv, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /"sv,
        "\r\n\r\n\0\r\nQUIT\n\x21\x11"sv})
    EXPECT_EQ(settled(text), http) << text;
}

TEST(ConnectionStart, OtherProtocols) {
  for (std::string_view text : {"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"sv,
                                "EHLO me.example\r\n"sv,
                                "USER anonymous\r\n"sv,
                                "NICK a\r\nUSER a 0 * :a\r\n"sv,
                                "*1\r\n$4\r\nPING\r\n"sv,
                                "get key\r\n"sv,
                                "CONNECT {\"verbose\":false}\r\n"sv,
                                "CONNECT\naccept-version:1.2\n"sv,
                                "0033git-upload-pack /project.git\0host=a.example\0"sv,
                                "\x05\x01\x00"sv,
                                "\x04\x01\x00\x50"sv,
                                "\0\0\0\x08\x04\xd2\x16\x2f"sv,
                                "\x10\x10\0\x04MQTT"sv,
                                "AMQP\0\0\x09\x01"sv,
                                "\x13"
                                "BitTorrent protocol"sv,
                                "\x85\0\0\x01\x0f"sv,
                                "\xff\xff\xff\xff"sv,
                                "OPTIONS rtsp://a/b RTSP/1.0\r\n"sv,
                                "/gopher\r\n"sv,
                                "<?xml version='1.0'?>"sv,
                                "{\"id\":1,\"method\":\"GET / HTTP/1.1\"}\n"sv,
                                "hello\n"sv,
                                "\r\n\r\n\0\r\nQUI?\n"sv})
    EXPECT_EQ(settled(text), other) << text;
}

TEST(ConnectionStart, Tls) {
  for (std::string_view text : {"\x16\x03\x01\x00\xc8"sv, "\x16"sv, "\x16\x02"sv, "\x15\x03\x01"sv,
                                "\x80\x2e\x01\x03\x01"sv})
    EXPECT_EQ(settled(text), tls) << text;
}

TEST(ConnectionStart, WhatCannotBeToldYet) {
  for (std::string_view text : {""sv, "\r\n"sv, "GE"sv, "GET "sv, "GET http:"sv, "EHLO me"sv, "*"sv,
                                "\r\n\r\n\0\r\n"sv, "\x15"sv, "\x80\x01"sv})
    EXPECT_EQ(settled(text), incomplete) << text;
}

TEST(ConnectionStart, HasAnAnswerInTheEnd) {
  std::string blanks(kLongestStart, '\n');
  std::string word(kLongestStart, 'a');
  std::string line = "EHLO " + word;
  for (const auto& text : {blanks, word, line}) {
    EXPECT_EQ(judge(text.substr(0, kLongestStart - 1)), incomplete);
    EXPECT_EQ(judge(text), http);
    EXPECT_EQ(judge(text + "\nGET / HTTP/1.1\r\n"), http);
  }
}

TEST(ConnectionStart, AMethodMayBeLongerThanWhatIsLookedAt) {
  std::string word(kLongestStart, 'A');
  std::string late = std::string(8000, '\n') + std::string(kLongestStart - 8000, 'A');
  for (const auto& start : {word, late}) {
    EXPECT_EQ(judge(start), http);
    EXPECT_EQ(judge(start + " / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), http);
  }
}

}  // namespace
}  // namespace hako::wire
