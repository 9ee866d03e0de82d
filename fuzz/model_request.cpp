// What a box sends to a model's host: a path is read only if it is plain, and what is read of a body is
// what Boost.JSON reads there, within bounds.
#include <boost/json.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire/model_call.h"

namespace {

using namespace hako::wire;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_extras(const std::vector<std::string>& extras) {
  require(extras.size() <= kMostExtras);
  require(std::is_sorted(extras.begin(), extras.end()));
  for (const auto& extra : extras) {
    require(!extra.empty() && extra.size() <= 80);
    for (char c : extra) require(c > ' ' && c < 0x7f);
  }
}

void check_request(const ModelRoute& route, const ModelRequest& request, std::string_view body) {
  require(!request.model.empty() && request.model.size() <= 128);
  require(!request.max_output_tokens || *request.max_output_tokens >= 1);
  check_extras(request.extras);
  boost::json::error_code error;
  boost::json::parse_options deep;
  deep.max_depth = 200;
  auto value = boost::json::parse(body, error, {}, deep);
  require(!error && value.is_object());
  if (route.dialect != ModelDialect::generate) {
    require(value.as_object().at("model").as_string() == request.model);
  }
  if (request.hides_usage) {
    auto asked = parse_model_request(route, with_usage_asked(body));
    require(asked.has_value() && !asked.value().hides_usage);
    require(asked.value().model == request.model);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  // The path up to the first line end, the body behind it.
  size_t end = std::min(text.find('\n'), text.size());
  std::string_view target = text.substr(0, end);
  std::string_view body = text.substr(std::min(end + 1, text.size()));
  auto route = route_model_request(static_cast<ModelApi>(data[0] % 3),
                                   data[0] & 0x80 ? "GET" : "POST", target);
  if (!route) {
    require(route.error().code() == hako::ErrorCode::permission_denied);
    return 0;
  }
  require(target.substr(0, target.find('?')).find("..") == target.npos ||
          target.find("/../") == target.npos);
  if (route.value().free) return 0;
  auto request = parse_model_request(route.value(), body);
  if (request) {
    check_request(route.value(), request.value(), body);
  } else {
    require(request.error().code() == hako::ErrorCode::invalid_argument);
  }
  return 0;
}
