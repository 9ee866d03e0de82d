// What decides about a call of a model beside its body: its head, and the room that there is for it.
#include <gtest/gtest.h>

#include <memory>

#include "gate/model_call.h"

namespace hako::gate {
namespace {

using Taken = BodyRoom::Taken;

TEST(BodyRoom, OneBoxGetsSoMuch) {
  BodyRoom room({.all = 1000, .box = 100, .each = 10});
  Taken first(room, "a");
  EXPECT_TRUE(first.grow(60));
  {
    Taken second(room, "a");
    EXPECT_FALSE(second.grow(41));
    EXPECT_TRUE(second.grow(40));
    EXPECT_FALSE(first.grow(1));
    Taken other(room, "b");
    EXPECT_TRUE(other.grow(100));
    EXPECT_EQ(room.taken(), 200u);
  }
  EXPECT_EQ(room.taken(), 60u);
  EXPECT_TRUE(first.grow(40));
  EXPECT_FALSE(first.grow(SIZE_MAX));
  EXPECT_EQ(room.taken(), 100u);
}

TEST(BodyRoom, NobodyIsShutOutByOthers) {
  BodyRoom room({.all = 150, .box = 100, .each = 10});
  Taken a(room, "a"), b(room, "b");
  EXPECT_TRUE(a.grow(100));
  EXPECT_TRUE(b.grow(50));
  EXPECT_FALSE(b.grow(1));
  Taken c(room, "c");
  EXPECT_TRUE(c.grow(10));
  EXPECT_FALSE(c.grow(1));
  Taken again(room, "c");
  EXPECT_FALSE(again.grow(1));
}

http::RequestHead with(std::string name, std::string value) {
  http::RequestHead head;
  head.fields.set(http::Field::content_type, "application/json");
  head.fields.insert(name, value);
  return head;
}

TEST(OddHead, WhatServersMightReadOtherwise) {
  EXPECT_EQ(odd_head(with("x-api-key", "k")), "");
  EXPECT_NE(odd_head(with("x-http-method-override", "DELETE")), "");
  EXPECT_NE(odd_head(with("X-HTTP-Method", "DELETE")), "");
  EXPECT_NE(odd_head(with("Content-Type", "text/plain")), "");
  for (auto [type, plain] : std::initializer_list<std::pair<const char*, bool>>{
           {"application/json", true},
           {"application/json; charset=utf-8", true},
           {"application/json;Charset=\"UTF-8\"; x=y", true},
           {"application/json; charset=utf-7", false},
           {"application/json; charset=utf-8; charset=utf-7", false},
           {"application/json; charset*=utf-8''utf-7", false},
           {"application/json; charset = 'UTF-16'", false},
           {"application/json; charset", false}}) {
    http::RequestHead head;
    head.fields.set(http::Field::content_type, type);
    EXPECT_EQ(odd_head(head).empty(), plain) << type;
  }
}

}  // namespace
}  // namespace hako::gate
