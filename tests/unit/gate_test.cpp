#include <gtest/gtest.h>

#include "gate/exec_reply.h"
#include "wire/process.h"
#include "wire/routing.h"

namespace hako {
namespace {

using wire::BoxPort;
using wire::Route;
using wire::RoutingFacts;

Route route(std::string_view host, std::string_view id = {}, std::string_view port = {}) {
  RoutingFacts facts;
  facts.host = host;
  facts.sandbox_id = id;
  facts.sandbox_port = port;
  return wire::route_of(facts);
}

TEST(Routing, host_names_of_boxes) {
  EXPECT_EQ(wire::parse_box_host("8080-abc1.hako.localhost"), (BoxPort{"abc1", 8080}));
  EXPECT_EQ(wire::parse_box_host("8080-abc1.hako.localhost:3002"), (BoxPort{"abc1", 8080}));
  EXPECT_EQ(wire::parse_box_host("49983-ABC1-0123.E2B.app"), (BoxPort{"abc1", 49983}));
  for (std::string_view host :
       {"", "abc", "8080-abc", "8080-abc.", "0-abc.x", "65536-abc.x", "080808-abc.x", "-abc.x",
        "8080-.x", "8080.abc.x", "8080-a_b.x", "api.hako.localhost", "127.0.0.1:3000", "[::1]:3000",
        "sandbox.hako.localhost", "8080--abc.x", "+80-abc.x", "8080-äb.x"})
    EXPECT_EQ(wire::parse_box_host(host), std::nullopt) << host;
  EXPECT_EQ(wire::parse_box_host("1-" + std::string(64, 'a') + ".x"), std::nullopt);
  EXPECT_EQ(wire::parse_box_host("1-a." + std::string(300, 'a')), std::nullopt);
}

TEST(Routing, headers_where_the_host_is_no_box) {
  for (std::string_view host : {"localhost:3002", "127.0.0.1", "[::1]:80", "sandbox.e2b.app", ""}) {
    EXPECT_EQ(route(host, "abc", "8080").target, (BoxPort{"abc", 8080}));
    EXPECT_EQ(route(host, "abc").target, (BoxPort{"abc", 49983}));
    EXPECT_EQ(route(host, "abc-client1", "1").target, (BoxPort{"abc", 1}));
    EXPECT_EQ(route(host).kind, Route::Kind::unrouted);
  }
}

TEST(Routing, a_host_name_of_a_box_wins) {
  EXPECT_EQ(route("1234-aaa.hako.localhost", "bbb", "5").target, (BoxPort{"aaa", 1234}));
}

TEST(Routing, refuses_what_cannot_be_an_id_or_a_port) {
  for (std::string_view id : {"../x", "ABC", "a b", "-x", "a.b"})
    EXPECT_EQ(route("localhost", id, "80").kind, Route::Kind::malformed) << id;
  for (std::string_view port : {"0", "65536", "-1", "80 ", "0x50", "99999999999"})
    EXPECT_EQ(route("localhost", "abc", port).kind, Route::Kind::malformed) << port;
  EXPECT_EQ(route("localhost", "", "80").kind, Route::Kind::malformed);
}

TEST(Routing, what_belongs_to_boxes_on_the_port_of_the_api) {
  auto belongs = [](std::string_view path, std::string_view host = "localhost",
                    std::string_view id = {}) {
    RoutingFacts facts;
    facts.path = path;
    facts.host = host;
    facts.sandbox_id = id;
    return wire::is_data_plane(facts);
  };
  for (std::string_view path : {"/files", "/files/compose", "/envs", "/metrics",
                                "/process.Process/Start", "/filesystem.Filesystem/Stat"})
    EXPECT_TRUE(belongs(path)) << path;
  for (std::string_view path : {"/health", "/sandboxes", "/v2/sandboxes", "/", "/filesx",
                                "/sandboxes/x/metrics", "/process.Process"})
    EXPECT_FALSE(belongs(path)) << path;
  EXPECT_TRUE(belongs("/health", "localhost", "abc"));
  EXPECT_TRUE(belongs("/sandboxes", "80-abc.hako.localhost"));
}

TEST(Routing, origin_form) {
  EXPECT_EQ(wire::origin_form("/a?b"), "/a?b");
  EXPECT_EQ(wire::origin_form("*"), "*");
  EXPECT_EQ(wire::origin_form("HTTP://host/init"), "/init");
  EXPECT_EQ(wire::origin_form("http://host"), "/");
  EXPECT_EQ(wire::origin_form("https://host?x"), "/?x");
  for (std::string_view target : {"", "init", "ftp://host/x", "host:443"})
    EXPECT_EQ(wire::origin_form(target), std::nullopt) << target;
}

TEST(Routing, internal_paths_however_spelled) {
  for (std::string_view path :
       {"/init", "//init", "/./init", "/x/../init", "/%69nit", "/%2569nit", "/init/", "/INIT",
        "/init;x", "/%2finit", "/freeze", "/thaw", "/unfreeze", "/collapse", "/fsfreeze", "/fsthaw",
        "/upgrade", "\\init", "/init/x"})
    EXPECT_TRUE(wire::is_internal_path(path)) << path;
  for (std::string_view path :
       {"/", "", "/files", "/health", "/initial", "/x/init", "/process.Process/Start", "/%zz"})
    EXPECT_FALSE(wire::is_internal_path(path)) << path;
}

std::string frames(std::initializer_list<std::string_view> data, int exit_code = 0) {
  std::string out;
  wire::append_start_event(out, 7);
  for (auto piece : data) wire::append_data_event(out, wire::OutputStream::out, piece);
  wire::append_end_event(out, wire::describe_end(exit_code, 0));
  wire::append_end_frame(out);
  return out;
}

TEST(ExecReply, gathers_output_from_pieces_of_any_size) {
  std::string reply = frames({"one ", "two ", "three"}, 3);
  for (size_t piece : {size_t{1}, size_t{2}, size_t{7}, reply.size()}) {
    gate::ExecReply parsed(1000);
    for (size_t i = 0; i < reply.size(); i += piece)
      ASSERT_TRUE(parsed.feed(std::string_view(reply).substr(i, piece)));
    EXPECT_TRUE(parsed.complete());
    EXPECT_EQ(parsed.exit_code(), 3);
    EXPECT_EQ(parsed.output(), "one two three");
  }
}

TEST(ExecReply, keeps_the_end_of_long_output) {
  std::string reply;
  for (int i = 0; i < 64; ++i)
    wire::append_data_event(reply, wire::OutputStream::err, std::string(100'000, 'a' + i % 26));
  wire::append_data_event(reply, wire::OutputStream::out, "the end");
  gate::ExecReply parsed(10);
  ASSERT_TRUE(parsed.feed(reply));
  EXPECT_EQ(parsed.output(), "lllthe end");
  EXPECT_FALSE(parsed.complete());
}

TEST(ExecReply, passes_the_guests_error_on) {
  std::string reply;
  wire::append_end_frame(reply, Error(ErrorCode::not_found, "no such program"));
  gate::ExecReply parsed(10);
  auto result = parsed.feed(reply);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::not_found);
}

TEST(ExecReply, refuses_rubbish) {
  std::string whole = frames({"x"});
  std::string no_end_event;
  wire::append_start_event(no_end_event, 1);
  wire::append_end_frame(no_end_event);
  std::string endless(5, '\0');
  endless[1] = endless[2] = endless[3] = endless[4] = '\xff';
  for (const std::string& reply :
       {whole + whole, no_end_event, endless, std::string("\x01\0\0\0\x02{}", 7),
        std::string("\0\0\0\0\x02[]", 7), std::string("\x02\0\0\0\x02[]", 7)}) {
    gate::ExecReply parsed(100);
    EXPECT_FALSE(parsed.feed(reply));
  }
}

}  // namespace
}  // namespace hako
