// A captured template that all tests of a program share: booting one takes seconds.
#pragma once

#include <gtest/gtest.h>

#include "support/engine_lab.h"

namespace hako::test {

inline constexpr engine::MachineSize kSize{1, 256};

class EngineVm : public testing::Test {
 protected:
  struct Shared {
    Lab lab;
    std::unique_ptr<engine::Engine> engine;
    engine::Snapshot snapshot;
  };

  static Shared& shared();
  static Lab& lab() { return shared().lab; }
  static engine::Engine& engine() { return *shared().engine; }
  static engine::Snapshot& snapshot() { return shared().snapshot; }

  /// A clone of the shared template, paused. Fails the test where that fails.
  static std::unique_ptr<engine::Machine> clone(const Place& place);
  /// The same, running and answering.
  static std::unique_ptr<engine::Machine> running_clone(const Place& place);
  static std::optional<std::string> get(const Place& place, const std::string& path);

  static inline const auto kPatient = std::chrono::seconds(10) * patience();
};

}  // namespace hako::test
