#include "gate/walls.h"

namespace hako::gate {

bool stands(Wall) {
  return true;
}

}  // namespace hako::gate
