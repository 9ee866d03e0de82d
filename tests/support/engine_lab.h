// What the engine's tests need around real machines: an image with a guest that answers, slots,
// disks, and a loop that runs coroutines to their end.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/async/task.h"
#include "engine/qemu/qemu_engine.h"
#include "jail/jail.h"
#include "network/slot.h"
#include "support/run_value.h"

namespace hako::test {

using Clock = std::chrono::steady_clock;

/// Multiplies deadlines, from HAKO_TEST_PATIENCE: for machines inside emulated machines.
int patience();
/// From HAKO_TEST_ACCEL: auto (the default), kvm or tcg.
engine::AccelMode accel_from_environment();

double milliseconds_since(Clock::time_point start);

/// One guest's surroundings. Everything goes with the object.
struct Place {
  network::Slot slot;
  Fd rootfs, scratch, tap;
  std::string label;  ///< occurs in the VMM's command line, and nowhere else
  std::string control_path;
  engine::MachineDevices devices() const;
};

class Lab {
 public:
  /// Throws std::runtime_error where the machine lacks what tests need (root, image, QEMU).
  Lab();
  ~Lab();

  /// Runs a coroutine on the lab's loop. Other work of the loop goes on meanwhile.
  template <class T>
  T run(Task<T> task) {
    return run_value(io_, std::move(task));
  }
  void run(Task<void> task);

  /// A new slot, tap and scratch disk.
  Place place();
  /// Options with a launcher that starts VMMs as they are asked for; behind all walls with
  /// HAKO_TEST_JAIL=1.
  engine::QemuOptions options();
  std::unique_ptr<engine::Engine> make_engine(engine::QemuOptions options);
  const engine::BootImage& image() const { return image_; }
  const std::filesystem::path& directory() const { return directory_; }
  asio::any_io_executor executor() { return io_.get_executor(); }

  /// GET `path` from the guest in `slot`. Nothing if no whole answer came within `limit`.
  std::optional<std::string> get(const network::Slot& slot, const std::string& path,
                                 std::chrono::milliseconds limit);
  /// Asks until /health answers. False once `limit` has passed.
  bool wait_ready(const network::Slot& slot, std::chrono::milliseconds limit);

  /// Boots, waits for the guest, with a few tries: an emulated boot may fail for want of time.
  Result<engine::Booted> boot_ready(engine::Engine& engine, const engine::MachineSize& size,
                                    Place& place);

  /// The walls for a machine of this lab.
  jail::VmmJail vmm_jail();

 private:
  asio::io_context io_;
  Fd empty_netns_;
  std::filesystem::path directory_;
  engine::BootImage image_;
  std::string rootfs_;
  std::vector<int> slots_;
  int next_number_ = 0;
};

/// Pids of processes whose command line has `text` in it.
std::vector<int> processes_with(const std::string& text);

/// A line of /proc/PID/smaps_rollup, in KiB.
long smaps_kib(int pid, const std::string& field);

}  // namespace hako::test
