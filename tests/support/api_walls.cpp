// In the place of src/api/walls.cpp, for a test program of its own.
#include "support/api_walls.h"

#include <optional>

namespace hako {
namespace {

std::optional<api::Wall> missing;

}  // namespace

bool api::stands(Wall wall) {
  return wall != missing;
}

test::WithoutWall::WithoutWall(api::Wall wall) {
  missing = wall;
}

test::WithoutWall::~WithoutWall() {
  missing.reset();
}

}  // namespace hako
