#include "policy/model_price.h"

#include <algorithm>
#include <array>

namespace hako::policy {
namespace json = boost::json;
namespace {

constexpr int64_t kMillion = 1'000'000;

/// Of all products, before they are rounded: two numbers of 63 bits may be multiplied here.
__extension__ typedef __int128 Wide;

int64_t rounded_up(Wide millionths) {
  Wide whole = (millionths + kMillion - 1) / kMillion;
  return whole > INT64_MAX ? INT64_MAX : static_cast<int64_t>(whole);
}

struct PriceMember {
  const char* name;
  int64_t ModelPrice::*value;
};
constexpr std::array kPriceMembers = {
    PriceMember{"input", &ModelPrice::input},
    PriceMember{"cached", &ModelPrice::cached},
    PriceMember{"cacheWrite", &ModelPrice::cache_write},
    PriceMember{"cacheWrite1h", &ModelPrice::cache_write_1h},
    PriceMember{"output", &ModelPrice::output},
};

}  // namespace

const ModelPrice* price_of(const std::vector<ModelPrice>& prices, std::string_view model) {
  const ModelPrice* best = nullptr;
  for (const ModelPrice& price : prices) {
    std::string_view name = price.model;
    if (name == model) return &price;
    if (!name.ends_with('*') || !model.starts_with(name.substr(0, name.size() - 1))) continue;
    if (!best || name.size() > best->model.size()) best = &price;
  }
  return best;
}

int64_t cost_of(const ModelPrice& price, const TokenCounts& tokens) {
  int64_t for_an_hour = std::min(tokens.cache_write_1h, tokens.cache_write);
  Wide sum = Wide(tokens.input) * price.input + Wide(tokens.cached) * price.cached +
             Wide(tokens.cache_write - for_an_hour) * price.cache_write +
             Wide(for_an_hour) * price.cache_write_1h + Wide(tokens.output) * price.output;
  return rounded_up(sum);
}

int64_t most_cost_of(const ModelPrice& price, int64_t input, int64_t output) {
  int64_t dearest =
      std::max({price.input, price.cached, price.cache_write, price.cache_write_1h});
  return rounded_up(Wide(input) * dearest + Wide(output) * price.output);
}

json::object to_json(const ModelPrice& price) {
  json::object object;
  for (const PriceMember& member : kPriceMembers) object[member.name] = price.*(member.value);
  return object;
}

Result<ModelPrice> price_from_json(const json::object& object) {
  ModelPrice price;
  for (const PriceMember& member : kPriceMembers) {
    const json::value* value = object.if_contains(member.name);
    if (!value || !value->is_int64() || value->get_int64() < 0) {
      return Error(ErrorCode::corrupted, "a price of tokens cannot be read");
    }
    price.*(member.value) = value->get_int64();
  }
  return price;
}

}  // namespace hako::policy
