// The commands about calls of models, as the parser knows them.
#pragma once

#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/options.h"

namespace CLI {
class App;
}

namespace hako::cli {

struct UsageOptions {
  std::string by = "model";
  std::string from, to;  ///< days of UTC
  std::string sandbox;
  bool all_tenants = false;
};

struct ModelSwitchOptions {
  bool everybody = false;  ///< all tenants, and not one's own
  std::string reason;
};

struct ModelCommandOptions {
  UsageOptions usage;
  ModelSwitchOptions stop, start;
};

/// `usage` and `model`. `status` becomes the exit status.
void add_model_commands(CLI::App& app, GlobalOptions& global, ModelCommandOptions& options,
                        int& status);

/// --model, --model-requests, --model-tokens and --model-usd. `limits` must live as long as the parser.
void add_model_limits(CLI::App* app, ModelLimits& limits);
/// Writes them into the body of a create.
void put_model_limits(boost::json::object& request, const ModelLimits& limits);

/// "2.50" as millionths of a dollar; invalid_argument for what is no amount from 0 to a billion, or has
/// more than six digits behind the point.
Result<int64_t> parse_usd(std::string_view text);
/// Millionths of a dollar as dollars, "$1.250000".
std::string shown_usd(int64_t microusd);

// models.cpp
int show_model_usage(const GlobalOptions& global, const UsageOptions& options);
int list_models(const GlobalOptions& global);
int stop_models(const GlobalOptions& global, const ModelSwitchOptions& options);
int start_models(const GlobalOptions& global, const ModelSwitchOptions& options);

}  // namespace hako::cli
