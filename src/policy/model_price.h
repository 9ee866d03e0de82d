// What calls of models cost, by the operator's table. Pure.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hako::policy {

/// Prices are in millionths of a dollar for a million tokens.
struct ModelPrice {
  std::string model;  ///< a name, or with '*' at its end the beginning of names
  int64_t input = 0;
  int64_t cached = 0;
  int64_t cache_write = 0;
  int64_t cache_write_1h = 0;
  int64_t output = 0;
  std::optional<int64_t> context_tokens;     ///< the most input that the model takes
  std::optional<int64_t> max_output_tokens;  ///< the most that it says where a call sets no limit
  bool operator==(const ModelPrice&) const = default;
};

/// The one that counts for a model: that of its name, else that of its longest beginning; null.
const ModelPrice* price_of(const std::vector<ModelPrice>& prices, std::string_view model);

/// Tokens by what they were; cache_write_1h ones are cache_write ones, too.
struct TokenCounts {
  int64_t input = 0, cached = 0, cache_write = 0, cache_write_1h = 0, output = 0;
};

/// In millionths of a dollar, rounded up; INT64_MAX where it is more than fits. Counts must not be
/// negative.
int64_t cost_of(const ModelPrice& price, const TokenCounts& tokens);
/// The most that so many tokens may cost, whatever kinds of input they turn out to be.
int64_t most_cost_of(const ModelPrice& price, int64_t input, int64_t output);

/// As JSON, and back; corrupted.
boost::json::object to_json(const ModelPrice& price);
Result<ModelPrice> price_from_json(const boost::json::object& object);

}  // namespace hako::policy
