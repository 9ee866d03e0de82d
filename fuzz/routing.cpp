// Who a request is for, from whatever strangers send: an id is always an id, a port a port, and no
// spelling of an internal path gets by.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "wire/routing.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
}

}  // namespace

/// Input: target, host, id and port, one line each.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::array<std::string_view, 4> lines;
  for (auto& line : lines) {
    size_t end = rest.find('\n');
    line = rest.substr(0, end);
    rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
  }
  auto target = hako::wire::origin_form(lines[0]);
  if (target) {
    require(*target == "*" || target->front() == '/');
    require(hako::wire::origin_form(*target) == target);
  }
  std::string path = target ? target->substr(0, target->find('?')) : "";
  hako::wire::RoutingFacts facts;
  facts.path = path;
  facts.host = lines[1];
  facts.sandbox_id = lines[2];
  facts.sandbox_port = lines[3];
  auto route = hako::wire::route_of(facts);
  bool to_box = route.kind == hako::wire::Route::Kind::box;
  if (to_box) require(is_id(route.target.box) && route.target.port != 0);
  if (to_box) require(hako::wire::is_data_plane(facts));
  // More slashes, a trailing one, or one more round of escapes change nothing.
  bool internal = hako::wire::is_internal_path(path);
  require(hako::wire::is_internal_path("/" + path) == internal || path.empty());
  if (path == "/init" || path == "/freeze") require(internal);
  return 0;
}
