// Walls of the API that a test can take away, one at a time.
#pragma once

#include "api/walls.h"

namespace hako::test {

/// For as long as it lives.
class WithoutWall {
 public:
  explicit WithoutWall(api::Wall wall);
  ~WithoutWall();
  WithoutWall(const WithoutWall&) = delete;
  WithoutWall& operator=(const WithoutWall&) = delete;
};

}  // namespace hako::test
