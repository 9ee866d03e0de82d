// In the place of src/gate/walls.cpp, for hako-gate-test: HAKO_TEST_WITHOUT_WALL names the walls
// that are not there, with commas between.
#include "gate/walls.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace hako::gate {
namespace {

std::string_view name_of(Wall wall) {
  switch (wall) {
    case Wall::sni:
      return "sni";
    case Wall::dns_names:
      return "dns_names";
    case Wall::private_ranges:
      return "private_ranges";
    case Wall::own_addresses:
      return "own_addresses";
    case Wall::grants:
      return "grants";
    case Wall::host_header:
      return "host_header";
    case Wall::placeholders:
      return "placeholders";
    case Wall::echoes:
      return "echoes";
    case Wall::counted:
      return "counted";
  }
  return {};
}

}  // namespace

bool stands(Wall wall) {
  const char* missing = std::getenv("HAKO_TEST_WITHOUT_WALL");
  if (!missing) return true;
  std::string_view rest = missing;
  while (!rest.empty()) {
    size_t end = std::min(rest.find(','), rest.size());
    if (rest.substr(0, end) == name_of(wall)) return false;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

}  // namespace hako::gate
