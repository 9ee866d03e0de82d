// In the place of src/gate/walls.cpp, for hako-gate-test: HAKO_TEST_WITHOUT_WALL names the wall that
// is not there.
#include "gate/walls.h"

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
    case Wall::host_header:
      return "host_header";
  }
  return {};
}

}  // namespace

bool stands(Wall wall) {
  static const char* const missing = std::getenv("HAKO_TEST_WITHOUT_WALL");
  return !missing || name_of(wall) != missing;
}

}  // namespace hako::gate
