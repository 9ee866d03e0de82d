// Short ways to write policies in tests.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>

#include "policy/egress_plan.h"

namespace hako::policy::test {

inline std::vector<Target> targets(std::initializer_list<const char*> texts) {
  std::vector<Target> list;
  for (const char* text : texts) {
    auto target = parse_target(text);
    EXPECT_TRUE(target) << text;
    if (target) list.push_back(std::move(target).value());
  }
  return list;
}

inline boost::asio::ip::address address(const char* text) {
  return boost::asio::ip::make_address(text);
}

inline Destination to_name(const char* name, uint16_t port = 443) {
  return {name, std::nullopt, port};
}
inline Destination to_address(const char* text, uint16_t port = 443) {
  return {"", address(text), port};
}
inline Destination resolved(const char* name, const char* text, uint16_t port = 443) {
  return {name, address(text), port};
}

inline EgressLayer layer(std::string name, EgressLevel level, std::vector<Target> allow = {},
                         std::vector<Target> deny = {}) {
  EgressLayer made;
  made.name = std::move(name);
  made.level = level;
  made.allow = std::move(allow);
  made.deny = std::move(deny);
  return made;
}

}  // namespace hako::policy::test
