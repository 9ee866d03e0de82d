// What the engine does when things go wrong, with real machines.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/engine_vm.h"

namespace hako::test {
namespace {

using namespace std::chrono_literals;

using EngineFailures = EngineVm;

TEST_F(EngineFailures, MissingBinaryIsNamed) {
  auto options = lab().options();
  options.accel = engine::AccelMode::tcg;
  options.binary = "/nonexistent/qemu";
  auto made = lab().run(engine::make_qemu_engine(options));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::not_found);
  EXPECT_NE(made.error().message().find("qemu-system-x86"), std::string::npos);

  options.binary = "/bin/true";
  made = lab().run(engine::make_qemu_engine(options));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::unsupported);
}

TEST_F(EngineFailures, ForeignSnapshotIsRefused) {
  Place place = lab().place();
  auto expect_refused = [&](const char* what) {
    auto machine = lab().run(engine().clone(snapshot(), place.devices(), place.control_path));
    ASSERT_FALSE(machine) << what;
    EXPECT_EQ(machine.error().code(), ErrorCode::failed_precondition) << what;
    EXPECT_TRUE(processes_with(place.label).empty()) << what;
  };
  engine::Fingerprint right = snapshot().fingerprint;
  snapshot().fingerprint.vmm_build += "x";
  expect_refused("another build");
  snapshot().fingerprint = right;
  snapshot().fingerprint.tsc_khz += right.tsc_khz / 1000;
  expect_refused("another clock rate");
  snapshot().fingerprint = right;
}

TEST_F(EngineFailures, DamagedDeviceStateIsAnError) {
  Place place = lab().place();
  std::string right = snapshot().device_state;
  auto expect_refused = [&](std::string state, const char* what) {
    snapshot().device_state = std::move(state);
    auto machine = lab().run(engine().clone(snapshot(), place.devices(), place.control_path));
    snapshot().device_state = right;
    ASSERT_FALSE(machine) << what;
    EXPECT_EQ(machine.error().code(), ErrorCode::corrupted)
        << what << ": " << machine.error().message();
    EXPECT_TRUE(processes_with(place.label).empty()) << what;
    EXPECT_FALSE(std::filesystem::exists(place.control_path)) << what;
  };
  expect_refused("", "empty");
  expect_refused(right.substr(0, right.size() / 2), "half");
  expect_refused("nonsense" + right.substr(8), "another start");
  std::string middle = right;
  middle.replace(middle.size() / 3, 64, std::string(64, '\xff'));
  // Whether bytes in the middle are noticed depends on which they are; nothing may stay behind.
  snapshot().device_state = middle;
  {
    auto machine = lab().run(engine().clone(snapshot(), place.devices(), place.control_path));
    snapshot().device_state = right;
  }
  EXPECT_TRUE(processes_with(place.label).empty());
}

TEST_F(EngineFailures, HangingGuestIsSeenAndKilled) {
  Place place = lab().place();
  engine::BootImage image = lab().image();
  // The kernel panics for want of an init, and stays there.
  image.cmdline = "rdinit=/nonexistent panic=0";
  auto booted = lab().run(engine().boot(image, kSize, place.devices(), place.control_path));
  ASSERT_TRUE(booted) << booted.error().message();
  EXPECT_FALSE(lab().wait_ready(place.slot, 3s));
  EXPECT_TRUE(lab().run(booted.value().machine->check_health()));
  lab().run(booted.value().machine->kill());
  EXPECT_TRUE(processes_with(place.label).empty());
}

TEST_F(EngineFailures, QemuThatDoesNotStartSaysWhy) {
  auto options = lab().options();
  auto plain = options.launcher;
  options.launcher = [plain](const ProcessSpec& spec) {
    ProcessSpec changed = spec;
    changed.argv.push_back("-device");
    changed.argv.push_back("no-such-device");
    return plain(changed);
  };
  auto engine = lab().make_engine(std::move(options));
  Place place = lab().place();
  auto machine = lab().run(engine->clone(snapshot(), place.devices(), place.control_path));
  ASSERT_FALSE(machine);
  EXPECT_EQ(machine.error().code(), ErrorCode::unavailable);
  EXPECT_NE(machine.error().message().find("no-such-device"), std::string::npos)
      << machine.error().message();
  EXPECT_TRUE(processes_with(place.label).empty());
}

TEST_F(EngineFailures, VmmThatNeverAnswersTimesOut) {
  auto options = lab().options();
  options.start_timeout = 300ms;
  auto executor = lab().executor();
  options.launcher = [executor](const ProcessSpec& spec) {
    ProcessSpec sleeper = spec;
    sleeper.path = "/bin/sleep";
    sleeper.argv = {
        "sleep",
        "60",
    };
    return spawn(executor, sleeper);
  };
  auto engine = lab().make_engine(std::move(options));
  Place place = lab().place();
  auto start = Clock::now();
  auto machine = lab().run(engine->clone(snapshot(), place.devices(), place.control_path));
  ASSERT_FALSE(machine);
  EXPECT_EQ(machine.error().code(), ErrorCode::timed_out);
  EXPECT_LT(milliseconds_since(start), 30'000);
  EXPECT_FALSE(std::filesystem::exists(place.control_path));
}

TEST_F(EngineFailures, LauncherErrorIsPassedOn) {
  auto options = lab().options();
  options.launcher = [](const ProcessSpec&) -> Result<Process> {
    return Error(ErrorCode::permission_denied, "no jail today");
  };
  auto engine = lab().make_engine(std::move(options));
  Place place = lab().place();
  auto machine = lab().run(engine->clone(snapshot(), place.devices(), place.control_path));
  ASSERT_FALSE(machine);
  EXPECT_EQ(machine.error().code(), ErrorCode::permission_denied);
  EXPECT_FALSE(std::filesystem::exists(place.control_path));
}

TEST_F(EngineFailures, UnsuitableDescriptorsAreRefused) {
  Place place = lab().place();
  auto expect_invalid = [&](engine::MachineDevices devices) {
    auto machine = lab().run(engine().clone(snapshot(), devices, place.control_path));
    ASSERT_FALSE(machine);
    EXPECT_EQ(machine.error().code(), ErrorCode::invalid_argument);
  };
  engine::MachineDevices devices = place.devices();
  devices.tap = -1;
  expect_invalid(devices);
  devices = place.devices();
  devices.rootfs = devices.scratch;  // open for writing
  expect_invalid(devices);
  devices = place.devices();
  devices.mac = "02:00:00:00:00:01,romfile=/etc/shadow";
  expect_invalid(devices);
}

TEST_F(EngineFailures, UnsealedMemoryIsRefused) {
  Place place = lab().place();
  Fd sealed = std::move(snapshot().memory);
  snapshot().memory = Fd(::memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(snapshot().memory.get(), off_t{kSize.memory_mib} << 20), 0);
  auto machine = lab().run(engine().clone(snapshot(), place.devices(), place.control_path));
  snapshot().memory = std::move(sealed);
  ASSERT_FALSE(machine);
  EXPECT_EQ(machine.error().code(), ErrorCode::failed_precondition);
}

/// A child's way to an unprivileged user; the context is not used.
int become_nobody(void*, const char** what) {
  *what = "drop privileges";
  constexpr uid_t kNobody = 65534;
  if (::setgroups(0, nullptr) < 0 || ::setresgid(kNobody, kNobody, kNobody) < 0 ||
      ::setresuid(kNobody, kNobody, kNobody) < 0)
    return errno;
  return 0;
}

/// What an escaped guest would try on the memory it shares with others. 0: nothing worked.
int attack_memory(void* memory, const char** what) {
  if (int error = become_nobody(nullptr, what)) return error;
  int fd = *static_cast<int*>(memory);
  *what = "attack memory";
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int reopened = ::open(path, O_RDWR);
  if (reopened < 0) return EBADF;
  for (int target : {fd, reopened}) {
    if (::pwrite(target, "x", 1, 4096) == 1) return EISCONN;
    if (::fallocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0)
      return EISCONN;
    if (::ftruncate(target, 0) == 0) return EISCONN;
    if (::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, target, 0) != MAP_FAILED)
      return EISCONN;
  }
  return 0;
}

TEST_F(EngineFailures, UnprivilegedVmmRunsAndCannotChangeItsTemplate) {
  auto executor = lab().executor();
  auto options = lab().options();
  options.launcher = [executor](const ProcessSpec& spec) {
    return spawn(executor, spec, ChildSetup{become_nobody, nullptr});
  };
  auto engine = lab().make_engine(std::move(options));
  Place place = lab().place();
  auto machine = lab().run(engine->clone(snapshot(), place.devices(), place.control_path));
  ASSERT_TRUE(machine) << machine.error().message();
  auto status = read_file("/proc/" + std::to_string(machine.value()->record().pid) + "/status");
  ASSERT_TRUE(status);
  EXPECT_NE(status.value().find("\nUid:\t65534\t65534\t65534\t65534"), std::string::npos);
  ASSERT_TRUE(lab().run(machine.value()->resume()));
  ASSERT_TRUE(lab().wait_ready(place.slot, kPatient));

  auto attack = [&](int memory) {
    ProcessSpec spec{"/bin/true", {"true"}, {}, {}};
    auto process = spawn(executor, spec, ChildSetup{attack_memory, &memory});
    return process ? 0 : process.error().os_error();
  };
  EXPECT_EQ(attack(snapshot().memory.get()), 0);
  // Without the seals the same attack succeeds.
  Fd unsealed(::memfd_create("unsealed", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(unsealed.get(), 1 << 20), 0);
  EXPECT_EQ(attack(unsealed.get()), EISCONN);
}

TEST_F(EngineFailures, DeathOfTheVmmIsSeen) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  ::kill(machine->record().pid, SIGKILL);
  EXPECT_EQ(lab().run(machine->wait_end()).signal, SIGKILL);
  auto health = lab().run(machine->check_health());
  ASSERT_FALSE(health);
  EXPECT_EQ(health.error().code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace hako::test
