// Taking a wall of the gate away.
#pragma once

#include <string>
#include <vector>

#include "base/async/task.h"

namespace hako::test {

/// `Fixture` with a gate that lacks the wall which a test names. `Breaks`: what gets through of
/// that which must not.
template <class Fixture, class Breaks>
class WithoutWall : public Fixture {
 protected:
  std::string gate_program() const override { return HAKO_GATE_TEST_PROGRAM; }
  std::vector<std::string> gate_environment() const override {
    return {"HAKO_TEST_WITHOUT_WALL=" + missing_};
  }

  virtual Task<void> try_everything(Breaks& breaks) = 0;

  /// What gets through when `missing` is not there.
  Breaks without(std::string missing) {
    missing_ = std::move(missing);
    Breaks breaks;
    this->run(try_everything(breaks));
    return breaks;
  }

 private:
  std::string missing_;
};

}  // namespace hako::test
