#include "api/router.h"

#include "base/encoding.h"

namespace hako::api {
namespace {

constexpr size_t kLongestSegment = 512;

/// Takes the next segment off a path that begins with a slash.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  size_t end = std::min(path.find('/'), path.size());
  std::string_view segment = path.substr(0, end);
  path.remove_prefix(end);
  return segment;
}

bool fits(std::string_view pattern, std::string_view path, std::vector<std::string>& parameters) {
  parameters.clear();
  while (!pattern.empty() && !path.empty()) {
    std::string_view expected = take_segment(pattern);
    std::string_view segment = take_segment(path);
    if (expected.empty() || expected.front() != '{') {
      if (expected != segment) return false;
      continue;
    }
    auto decoded = percent_decode(segment, false);
    if (!decoded || decoded->empty() || decoded->size() > kLongestSegment) return false;
    if (decoded->find('\0') != std::string::npos) return false;
    parameters.push_back(std::move(*decoded));
  }
  return pattern.empty() && path.empty();
}

}  // namespace

Match match_route(std::span<const Route> table, http::Verb method, std::string_view path) {
  Match match;
  if (path.empty() || path.front() != '/') return match;
  for (const Route& route : table) {
    if (!fits(route.pattern, path, match.parameters)) continue;
    if (route.method == method) {
      match.route = &route;
      return match;
    }
    auto name = boost::beast::http::to_string(route.method);
    if (!match.allowed.empty()) match.allowed += ", ";
    match.allowed.append(name.data(), name.size());
  }
  match.parameters.clear();
  return match;
}

}  // namespace hako::api
