#include "cli/agents.h"

#include <algorithm>
#include <charconv>

#include "cli/endpoint.h"

namespace hako::cli {
namespace {

constexpr std::string_view kClaudeArguments[] = {"--dangerously-skip-permissions"};
constexpr std::string_view kCodexArguments[] = {"--dangerously-bypass-approvals-and-sandbox"};
constexpr std::string_view kGeminiArguments[] = {"--yolo"};

constexpr Agent kAgents[] = {
    {"claude", "@anthropic-ai/claude-code", "claude", kClaudeArguments, "api.anthropic.com:443",
     "ANTHROPIC_BASE_URL"},
    {"codex", "@openai/codex", "codex", kCodexArguments, "api.openai.com:443", "OPENAI_BASE_URL"},
    {"gemini", "@google/gemini-cli", "gemini", kGeminiArguments,
     "generativelanguage.googleapis.com:443", "GOOGLE_GEMINI_BASE_URL"},
};

constexpr int64_t kMicro = 1'000'000;
constexpr int64_t kMostUsd = 1'000'000;

Error no_budget(std::string_view text) {
  return Error(ErrorCode::invalid_argument,
               "'" + std::string(text) +
                   "' is no budget: write it like 5usd, 0.25usd, 200000tokens or 100requests");
}

std::optional<int64_t> whole_number(std::string_view digits) {
  int64_t number = 0;
  auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (failed != std::errc{} || end != digits.data() + digits.size() || number < 0)
    return std::nullopt;
  return number;
}

/// Dollars with up to six decimals, as millionths.
std::optional<int64_t> millionths(std::string_view text) {
  size_t point = text.find('.');
  auto whole = whole_number(text.substr(0, point));
  if (!whole || *whole > kMostUsd) return std::nullopt;
  if (point == text.npos) return *whole * kMicro;
  std::string decimals(text.substr(point + 1));
  if (decimals.empty() || decimals.size() > 6) return std::nullopt;
  decimals.resize(6, '0');
  auto part = whole_number(decimals);
  if (!part) return std::nullopt;
  return *whole * kMicro + *part;
}

}  // namespace

std::span<const Agent> known_agents() {
  return kAgents;
}

const Agent* find_agent(std::string_view name) {
  for (const Agent& agent : kAgents)
    if (agent.name == name) return &agent;
  return nullptr;
}

std::string names_of_agents() {
  std::string names;
  for (const Agent& agent : kAgents) {
    if (!names.empty()) names += ", ";
    names += agent.name;
  }
  return names;
}

std::string template_of(const Agent& agent) {
  return "agent-" + std::string(agent.name);
}

Result<std::string> target_of_url(std::string_view url) {
  HAKO_TRY(auto endpoint, parse_endpoint(url));
  std::string host = endpoint.host;
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return host + ":" + std::to_string(endpoint.port);
}

Result<void> parse_budget(std::string_view text, ModelLimits& budget) {
  size_t unit = text.find_first_not_of("0123456789.");
  if (unit == text.npos || unit == 0) return no_budget(text);
  std::string_view number = text.substr(0, unit), word = text.substr(unit);
  auto amount = word == "usd" ? millionths(number) : whole_number(number);
  if (!amount || *amount == 0) return no_budget(text);
  if (word == "usd") {
    budget.microusd = amount;
  } else if (word == "tokens") {
    budget.tokens = amount;
  } else if (word == "requests") {
    budget.requests = amount;
  } else {
    return no_budget(text);
  }
  return ok();
}

}  // namespace hako::cli
