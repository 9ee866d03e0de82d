// Checkpoints of a clone: its devices' state by QEMU, its memory by looking into QEMU.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/async/both.h"
#include "engine/process_memory.h"
#include "engine/qemu/qemu_machine.h"
#include "engine/qemu/qemu_state.h"

namespace hako::engine {

namespace json = boost::json;

/// All that can be made ready while the machine still runs.
struct QemuMachine::CheckpointRoom {
  GuestMapping mapping;
  PageBuffer pages;
  Fd state;         ///< for QEMU to write the devices' state to
  Fd state_reading; ///< the same file
};

namespace {

constexpr int kStateFdSet = 10;  // above those of the command line
/// What a guest may change between the look at its memory and its pause, before the pause has to
/// wait for memory of ours.
constexpr uint64_t kSparePages = 1024;

/// QEMU finds a descriptor of a set by the way it was opened, and wants one for writing only.
Result<std::pair<Fd, Fd>> make_state_file() {
  Fd file(::memfd_create("hako-device-state", MFD_CLOEXEC));
  if (!file) return Error::from_errno(errno, "memfd_create");
  HAKO_TRY(auto writing, open_file("/proc/self/fd/" + std::to_string(file.get()), O_WRONLY));
  return std::pair{std::move(writing), std::move(file)};
}

Result<std::string> read_state_file(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) < 0) return Error::from_errno(errno, "stat device state");
  if (info.st_size == 0) return Error(ErrorCode::corrupted, "VMM saved no device state");
  if (info.st_size > static_cast<off_t>(kMaxDeviceState))
    return Error(ErrorCode::too_large, "VMM saved a device state over 1 MiB");
  std::string state(static_cast<size_t>(info.st_size), '\0');
  ssize_t n = ::pread(fd, state.data(), state.size(), 0);
  if (n != info.st_size) return Error::from_errno(n < 0 ? errno : EIO, "read device state");
  return state;
}

}  // namespace

Result<QemuMachine::CheckpointRoom> QemuMachine::prepare_checkpoint() {
  const pid_t pid = qemu_.process.pid();
  CheckpointRoom room;
  HAKO_TRY(room.mapping, find_guest_memory(pid));
  HAKO_TRY(auto state_files, make_state_file());
  std::tie(room.state, room.state_reading) = std::move(state_files);
  HAKO_TRY(auto runs, private_pages(pid, room.mapping));
  uint64_t pages = pages_in(runs);
  HAKO_TRY(room.pages, PageBuffer::make(pages + pages / 8 + kSparePages));
  return room;
}

Task<Result<void>> QemuMachine::stop_and_save_devices(int state_file) {
  const std::string set = "/dev/fdset/" + std::to_string(kStateFdSet);
  std::vector<qmp::Command> commands;
  commands.push_back({"stop", {}});
  commands.push_back({"query-status", {}});
  commands.push_back({"add-fd", {{"fdset-id", kStateFdSet}}});
  // live would let go of the disks.
  commands.push_back({"xen-save-devices-state", {{"filename", set}, {"live", false}}});
  commands.push_back({"remove-fd", {{"fdset-id", kStateFdSet}}});
  auto answers = co_await qemu_.control.call_all(std::move(commands), timeout_, state_file);
  if (!answers) co_return explain(answers.error());
  HAKO_CO_TRY(auto status, status_in(answers.value()[1]));
  if (status != "paused")
    co_return Error(ErrorCode::unavailable, "VMM is in state " + status + " after stop");
  co_return ok();
}

Task<Result<Checkpoint>> QemuMachine::checkpoint_paused(CheckpointRoom room,
                                                        PausedWork paused_work) {
  Checkpoint made;
  made.base = base_;
  made.paused_at = std::chrono::steady_clock::now();
  HAKO_CO_TRYV(co_await stop_and_save_devices(room.state.get()));
  const pid_t pid = qemu_.process.pid();
  auto copy_memory = [&]() -> Result<void> {
    HAKO_TRY(made.device_state, read_state_file(room.state_reading.get()));
    HAKO_TRY(made.memory.runs, private_pages(pid, room.mapping));
    const uint64_t pages = pages_in(made.memory.runs);
    HAKO_TRYV(room.pages.grow(pages));
    HAKO_TRYV(read_pages(pid, room.mapping, made.memory.runs, room.pages.data()));
    HAKO_TRY(made.memory.pages, room.pages.finish(pages));
    return ok();
  };
  auto copy_rest = [&]() -> Result<void> {
    if (paused_work) return paused_work();
    return ok();
  };
  auto memory = run_blocking(*blocking_, copy_memory);
  auto rest = run_blocking(*blocking_, copy_rest);
  HAKO_CO_TRYV(co_await both(std::move(memory), std::move(rest)));
  // As long as it has not ended, its pid was nobody else's.
  if (qemu_.process.ended())
    co_return explain(Error(ErrorCode::unavailable, "VMM ended during the checkpoint"));
  co_return std::move(made);
}

Task<Result<Checkpoint>> QemuMachine::checkpoint(PausedWork paused_work) {
  if (base_.empty())
    co_return Error(ErrorCode::failed_precondition, "only a clone can have checkpoints");
  auto prepare = [this] { return prepare_checkpoint(); };
  auto room = co_await run_blocking(*blocking_, prepare);
  if (!room) co_return explain(room.error());
  auto rest = checkpoint_paused(std::move(room.value()), std::move(paused_work));
  co_return co_await run_to_end(std::move(rest));
}

Task<Result<void>> QemuMachine::fill_memory(const MemoryDelta& delta, Duration limit) {
  // It answers once it has made its memory.
  qmp::Command greeting{"qmp_capabilities", {}};
  auto answer = co_await qemu_.control.call(std::move(greeting), limit);
  if (!answer) co_return explain(answer.error());
  auto fill = [&]() -> Result<void> {
    HAKO_TRY(auto mapping, find_guest_memory(qemu_.process.pid()));
    return write_pages(qemu_.process.pid(), mapping, delta);
  };
  auto filled = co_await run_blocking(*blocking_, fill);
  if (!filled) co_return explain(filled.error());
  co_return ok();
}

}  // namespace hako::engine
