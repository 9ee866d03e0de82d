// The engine with real machines. HAKO_TEST_ACCEL=kvm runs the same tests on KVM.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include "engine/snapshot_store.h"
#include "support/engine_vm.h"

namespace hako::test {
namespace {

using namespace std::chrono_literals;

std::string status_field(pid_t pid, const std::string& field) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/status");
  if (!text) return "no process";
  size_t at = text.value().find("\n" + field + ":");
  if (at == std::string::npos) return "no field";
  at += field.size() + 2;
  while (text.value()[at] == '\t' || text.value()[at] == ' ') ++at;
  return text.value().substr(at, text.value().find('\n', at) - at);
}

using EngineTest = EngineVm;

TEST_F(EngineTest, ClonesRunBesideEachOther) {
  std::vector<Place> places;
  std::vector<std::unique_ptr<engine::Machine>> machines;
  for (size_t i = 0; i < 3; ++i) {
    places.push_back(lab().place());
    auto start = Clock::now();
    machines.push_back(clone(places[i]));
    ASSERT_TRUE(machines[i]);
    double restored = milliseconds_since(start);
    start = Clock::now();
    auto resumed = lab().run(machines[i]->resume());
    ASSERT_TRUE(resumed) << resumed.error().message();
    double running = milliseconds_since(start);
    ASSERT_TRUE(lab().wait_ready(places[i].slot, kPatient));
    std::printf("clone: restored in %.1f ms, resumed in %.2f ms, first answer after %.1f ms\n",
                restored, running, milliseconds_since(start));
  }
  // Each goes on from the template's memory, and none sees what another has changed.
  for (size_t i = 0; i < 3; ++i)
    for (size_t n = 0; n <= i; ++n)
      EXPECT_EQ(get(places[i], "/count"), std::to_string(2 + n) + "\n");
  for (auto& machine : machines) {
    EXPECT_TRUE(lab().run(machine->check_health()));
    std::printf("clone: %ld KiB private, %ld KiB resident\n",
                smaps_kib(machine->record().pid, "Private_Dirty"),
                smaps_kib(machine->record().pid, "Rss"));
  }
}

TEST_F(EngineTest, CloneStartsPausedAndPausesAgain) {
  Place place = lab().place();
  auto machine = clone(place);
  ASSERT_TRUE(machine);
  EXPECT_TRUE(lab().run(machine->check_health()));
  EXPECT_FALSE(lab().get(place.slot, "/health", 300ms));
  ASSERT_TRUE(lab().run(machine->resume()));
  ASSERT_TRUE(lab().wait_ready(place.slot, kPatient));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(lab().run(machine->pause()));
    EXPECT_TRUE(lab().run(machine->check_health()));
    EXPECT_FALSE(lab().get(place.slot, "/health", 300ms));
    ASSERT_TRUE(lab().run(machine->resume()));
    ASSERT_TRUE(lab().wait_ready(place.slot, kPatient));
  }
}

TEST_F(EngineTest, GuestHasItsDisks) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  auto rootfs_size = std::to_string(::lseek(place.rootfs.get(), 0, SEEK_END));
  EXPECT_EQ(get(place, "/disks"), "/dev/vda " + rootfs_size + " read-only\n/dev/vdb " +
                                      std::to_string(64 << 20) + " read-write\n");
  EXPECT_EQ(get(place, "/scratch/marker"), "written\n");
  char bytes[6] = {};
  EXPECT_EQ(::pread(place.scratch.get(), bytes, sizeof bytes, 0), 6);
  EXPECT_EQ(std::string(bytes, 6), "marker");
}

TEST_F(EngineTest, ConsoleTailKeepsTheLast) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  EXPECT_EQ(get(place, "/print/first-line"), "printed\n");
  auto tail = lab().run(machine->console_tail());
  ASSERT_TRUE(tail) << tail.error().message();
  EXPECT_NE(tail.value().find("first-line"), std::string::npos);
  EXPECT_EQ(get(place, "/print/second-line"), "printed\n");
  tail = lab().run(machine->console_tail());
  ASSERT_TRUE(tail);
  EXPECT_LT(tail.value().find("first-line"), tail.value().find("second-line"));
  EXPECT_LE(tail.value().size(), 64u * 1024);
}

TEST_F(EngineTest, KillLeavesNothing) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  ASSERT_EQ(processes_with(place.label).size(), 1u);
  lab().run(machine->kill());
  EXPECT_TRUE(processes_with(place.label).empty());
  EXPECT_EQ(lab().run(machine->wait_end()).signal, SIGKILL);
  // A machine that has gone says so, and quickly.
  auto paused = lab().run(machine->pause());
  ASSERT_FALSE(paused);
  EXPECT_EQ(paused.error().code(), ErrorCode::unavailable);
  machine.reset();
  EXPECT_FALSE(std::filesystem::exists(place.control_path));
}

TEST_F(EngineTest, DestructorKills) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  machine.reset();
  EXPECT_TRUE(processes_with(place.label).empty());
  EXPECT_FALSE(std::filesystem::exists(place.control_path));
}

TEST_F(EngineTest, EndIsSeenWhenTheGuestReboots) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  EXPECT_EQ(get(place, "/reboot"), "");  // it was heard: without that, the wait would not end
  ExitStatus status = lab().run(machine->wait_end());
  EXPECT_EQ(status.code, 0) << status.describe();
}

TEST_F(EngineTest, ReleasedMachineIsAdopted) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  engine::MachineRecord record = machine->record();
  machine->release();
  machine.reset();
  EXPECT_EQ(processes_with(place.label).size(), 1u);

  auto other = lab().make_engine(lab().options());
  engine::MachineRecord wrong = record;
  ++wrong.start_time;
  auto missed = lab().run(other->adopt(wrong));
  ASSERT_FALSE(missed);
  EXPECT_EQ(missed.error().code(), ErrorCode::not_found);

  auto adopted = lab().run(other->adopt(record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  machine = std::move(adopted.value());
  EXPECT_TRUE(lab().run(machine->check_health()));
  EXPECT_EQ(get(place, "/count"), "2\n");
  ASSERT_TRUE(lab().run(machine->pause()));
  ASSERT_TRUE(lab().run(machine->resume()));
  EXPECT_EQ(get(place, "/count"), "3\n");
  lab().run(machine->kill());
  EXPECT_FALSE(lab().run(machine->wait_end()).known);
  EXPECT_EQ(::waitpid(record.pid, nullptr, 0), record.pid);  // it is our child after all
}

TEST_F(EngineTest, StoredSnapshotRuns) {
  std::string directory = lab().directory() / "stored";
  auto start = Clock::now();
  auto saved = engine::save_snapshot(snapshot(), directory);
  ASSERT_TRUE(saved) << saved.error().message();
  double save_time = milliseconds_since(start);
  start = Clock::now();
  auto loaded = engine::load_snapshot(directory);
  ASSERT_TRUE(loaded) << loaded.error().message();
  std::printf("snapshot: saved in %.0f ms, loaded in %.0f ms\n", save_time,
              milliseconds_since(start));

  Place place = lab().place();
  auto machine = lab().run(engine().clone(loaded.value(), place.devices(), place.control_path));
  ASSERT_TRUE(machine) << machine.error().message();
  ASSERT_TRUE(lab().run(machine.value()->resume()));
  ASSERT_TRUE(lab().wait_ready(place.slot, kPatient));
  EXPECT_EQ(get(place, "/count"), "2\n");
}

TEST_F(EngineTest, VmmIsFiltered) {
  Place place = lab().place();
  auto machine = clone(place);
  ASSERT_TRUE(machine);
  EXPECT_EQ(status_field(machine->record().pid, "Seccomp"), "2");
}

}  // namespace
}  // namespace hako::test
