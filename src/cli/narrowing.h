// What a new key or token leaves, as the command line says it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "cli/options.h"
#include "policy/permission.h"

namespace CLI {
class App;
}

namespace hako::cli {

/// What is empty narrows nothing.
struct NarrowingOptions {
  std::string agent;
  std::vector<std::string> sandboxes, templates;
  std::string actions;  ///< words with commas
  Confinement confinement;
  std::optional<int64_t> memory_mib, vcpus, boxes, egress_bytes;
  ModelLimits models;
  std::optional<std::chrono::seconds> ttl;
  std::string expires;               ///< a span from now, or an RFC 3339 time
  std::vector<std::string> caveats;  ///< as they will stand in the token
};

/// --agent, --sandbox, --template, --actions, --label, --egress, --allow, --deny, --memory, --cpu,
/// --ttl, --boxes, --egress-bytes, --model, --model-requests, --model-tokens, --model-usd and --expires. `options` must live as long as the parser.
void add_narrowing(CLI::App* app, NarrowingOptions& options);

/// What those options leave, `caveats` aside. invalid_argument in the user's words.
Result<policy::Narrowing> narrowing_of(const NarrowingOptions& options, WallTime now);

/// All of it as caveats. invalid_argument also for one that hako does not know: it would leave
/// nothing.
Result<std::vector<std::string>> caveats_of(const NarrowingOptions& options, WallTime now);

}  // namespace hako::cli
