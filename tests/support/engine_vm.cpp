#include "support/engine_vm.h"

#include <stdexcept>

namespace hako::test {

EngineVm::Shared& EngineVm::shared() {
  static std::unique_ptr<Shared> shared = [] {
    auto made = std::make_unique<Shared>();
    made->engine = made->lab.make_engine(made->lab.options());
    std::printf("accel: %s\n", made->engine->accel_reason().c_str());
    Place place = made->lab.place();
    auto start = Clock::now();
    auto booted = made->lab.boot_ready(*made->engine, kSize, place);
    if (!booted) throw std::runtime_error(booted.error().message());
    std::printf("boot to ready: %.0f ms\n", milliseconds_since(start));
    // So that a clone can show that it goes on from here.
    if (made->lab.get(place.slot, "/count", kPatient) != "1\n")
      throw std::runtime_error("template does not count");
    // And so that it has something to lose.
    if (made->lab.get(place.slot, "/fill/4/1", kPatient) != "filled\n")
      throw std::runtime_error("template does not fill its memory");
    start = Clock::now();
    auto captured = made->lab.run(made->engine->capture(std::move(booted.value()), kSize));
    if (!captured) throw std::runtime_error(captured.error().message());
    made->snapshot = std::move(captured.value());
    std::printf("capture: %.1f ms, device state of %zu bytes\n", milliseconds_since(start),
                made->snapshot.device_state.size());
    return made;
  }();
  return *shared;
}

std::unique_ptr<engine::Machine> EngineVm::clone(const Place& place) {
  auto machine = lab().run(engine().clone(snapshot(), place.devices(), place.control_path));
  EXPECT_TRUE(machine) << machine.error().message();
  return machine ? std::move(machine.value()) : nullptr;
}

std::unique_ptr<engine::Machine> EngineVm::running_clone(const Place& place) {
  auto machine = clone(place);
  if (!machine) return nullptr;
  auto resumed = lab().run(machine->resume());
  EXPECT_TRUE(resumed) << resumed.error().message();
  EXPECT_TRUE(lab().wait_ready(place.slot, kPatient));
  return machine;
}

std::optional<std::string> EngineVm::get(const Place& place, const std::string& path) {
  return lab().get(place.slot, path, kPatient);
}

}  // namespace hako::test
