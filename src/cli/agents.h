// Agents that hako knows how to install and to run in a box. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/options.h"

namespace hako::cli {

/// What there is to know about one; another agent needs no more than this either.
struct Agent {
  std::string_view name;
  std::string_view package;   ///< on npm
  std::string_view command;   ///< what the package installs
  /// Before what the user says: it may act without asking, as that is what the box is for.
  std::span<const std::string_view> arguments;
  std::string_view host;      ///< where its model answers
  std::string_view base_url;  ///< the variable that names another one
};

std::span<const Agent> known_agents();
const Agent* find_agent(std::string_view name);
/// "claude, codex, gemini".
std::string names_of_agents();

/// What its template is called: a snapshot of a box in which it was installed.
std::string template_of(const Agent& agent);

/// "HOST:PORT" of an http or https URL. invalid_argument.
Result<std::string> target_of_url(std::string_view url);

/// "5usd", "0.25usd", "200000tokens", "100requests" into `budget`. invalid_argument.
Result<void> parse_budget(std::string_view text, ModelLimits& budget);

}  // namespace hako::cli
