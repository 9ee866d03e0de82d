#include "api/walls.h"

namespace hako::api {

bool stands(Wall) {
  return true;
}

}  // namespace hako::api
