#include <gtest/gtest.h>

#include "cli/agents.h"

namespace hako::cli {
namespace {

TEST(Agents, AreKnown) {
  EXPECT_EQ(names_of_agents(), "claude, codex, gemini");
  ASSERT_TRUE(find_agent("codex"));
  EXPECT_EQ(template_of(*find_agent("codex")), "agent-codex");
  EXPECT_FALSE(find_agent("nobody"));
}

TEST(Agents, Budgets) {
  ModelLimits budget;
  ASSERT_TRUE(parse_budget("5usd", budget));
  EXPECT_EQ(budget.microusd, 5'000'000);
  ASSERT_TRUE(parse_budget("0.25usd", budget));
  EXPECT_EQ(budget.microusd, 250'000);
  ASSERT_TRUE(parse_budget("200000tokens", budget));
  ASSERT_TRUE(parse_budget("100requests", budget));
  EXPECT_EQ(budget.tokens, 200'000);
  EXPECT_EQ(budget.requests, 100);
  for (const char* wrong : {"", "5", "usd", "0usd", "-1usd", "1.0000001usd", "1.5tokens", "5eur",
                            "99999999999999999999tokens", "1..5usd", ".usd", "1.usd"})
    EXPECT_FALSE(parse_budget(wrong, budget)) << wrong;
}

TEST(Agents, Servers) {
  EXPECT_EQ(target_of_url("https://model.example/v1").value(), "model.example:443");
  EXPECT_EQ(target_of_url("http://127.0.0.1:9/").value(), "127.0.0.1:9");
  EXPECT_EQ(target_of_url("https://[2001:db8::1]").value(), "[2001:db8::1]:443");
  EXPECT_FALSE(target_of_url("model.example"));
}

}  // namespace
}  // namespace hako::cli
