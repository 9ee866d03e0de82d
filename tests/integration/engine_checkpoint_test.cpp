// Checkpoints of real machines: what starts from one goes on as that machine was, and by itself.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/random.h"
#include "engine/checkpoint_store.h"
#include "engine/process_memory.h"
#include "engine/snapshot_store.h"
#include "support/engine_vm.h"

namespace hako::test {
namespace {

using MachinePtr = std::unique_ptr<engine::Machine>;

/// All of the guest memory of a machine that stands still.
std::string guest_memory(const engine::Machine& machine) {
  const pid_t pid = machine.record().pid;
  auto mapping = engine::find_guest_memory(pid);
  if (!mapping) throw std::runtime_error(mapping.error().message());
  std::string bytes(mapping.value().bytes, '\0');
  Fd file(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  for (size_t done = 0; done < bytes.size();) {
    ssize_t n = ::pread(file.get(), &bytes[done], bytes.size() - done,
                        static_cast<off_t>(mapping.value().address + done));
    if (n <= 0) throw std::runtime_error("cannot read the guest's memory");
    done += static_cast<size_t>(n);
  }
  return bytes;
}

size_t differing_pages(const std::string& a, const std::string& b) {
  size_t differing = 0;
  for (size_t at = 0; at < a.size(); at += engine::kGuestPage)
    differing += std::memcmp(&a[at], &b[at], engine::kGuestPage) != 0;
  return differing;
}

size_t open_descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

/// Returns once the process has ended, although nobody has reaped it.
void kill_and_watch(pid_t pid) {
  Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ::kill(pid, SIGKILL);
  pollfd ended{process.get(), POLLIN, 0};
  ::poll(&ended, 1, -1);
}

class EngineCheckpoint : public EngineVm {
 protected:
  /// Of a machine that is left paused; copies its disk to `disk`, if any, meanwhile.
  static engine::Checkpoint checkpoint(engine::Machine& machine, const Place* from = nullptr,
                                       const Place* to = nullptr) {
    engine::PausedWork copy_disk;
    if (from)
      copy_disk = [from, to]() -> Result<void> {
        HAKO_TRYV(clone_file(from->scratch.get(), to->scratch.get()));
        return ok();
      };
    auto made = lab().run(machine.checkpoint(copy_disk));
    if (!made) throw std::runtime_error(made.error().message());
    return std::move(made.value());
  }
  /// Restored and paused.
  static MachinePtr restore(const engine::Snapshot& base, const engine::Checkpoint* over,
                            const Place& place) {
    auto machine = lab().run(engine().clone(base, over, place.devices(), place.control_path));
    if (!machine) throw std::runtime_error(machine.error().message());
    return std::move(machine.value());
  }
  static void resume(engine::Machine& machine, const Place& place) {
    auto resumed = lab().run(machine.resume());
    ASSERT_TRUE(resumed) << resumed.error().message();
    ASSERT_TRUE(lab().wait_ready(place.slot, kPatient));
  }
  static void expect_refused(const engine::Snapshot& base, const engine::Checkpoint& over,
                             ErrorCode code) {
    Place place = lab().place();
    auto machine = lab().run(engine().clone(base, &over, place.devices(), place.control_path));
    ASSERT_FALSE(machine);
    EXPECT_EQ(machine.error().code(), code) << machine.error().message();
    EXPECT_TRUE(processes_with(place.label).empty());
  }
};

TEST_F(EngineCheckpoint, ChildIsItsParent) {
  Place place = lab().place(), childs = lab().place();
  auto parent = running_clone(place);
  ASSERT_TRUE(parent);
  EXPECT_EQ(get(place, "/count"), "2\n");
  EXPECT_EQ(get(place, "/fill/20/7"), "filled\n");
  EXPECT_EQ(get(place, "/scratch/marker"), "written\n");
  auto sum = get(place, "/sum");

  auto start = Clock::now();
  auto made = checkpoint(*parent, &place, &childs);
  std::printf("checkpoint: %.1f ms, of %zu pages in %zu runs, device state of %zu bytes\n",
              milliseconds_since(start), size_t{engine::pages_in(made.memory.runs)},
              made.memory.runs.size(), made.device_state.size());
  EXPECT_FALSE(lab().get(place.slot, "/health", std::chrono::milliseconds(300)));  // paused
  start = Clock::now();
  auto child = restore(snapshot(), &made, childs);
  std::printf("child: restored in %.1f ms\n", milliseconds_since(start));

  // The same in every byte, but for the page in which KVM tells the time; and not without the
  // checkpoint's memory, or the comparison is no good.
  std::string memory = guest_memory(*parent);
  bool kvm = engine().fingerprint().isolation == engine::Isolation::hardware;
  EXPECT_LE(differing_pages(memory, guest_memory(*child)), kvm ? 1u : 0u);
  EXPECT_GE(differing_pages(memory, guest_memory(*clone(lab().place()))), 20u * 256);

  resume(*parent, place);
  resume(*child, childs);
  EXPECT_EQ(get(childs, "/sum"), sum);
  EXPECT_EQ(get(place, "/count"), "3\n");
  EXPECT_EQ(get(place, "/count"), "4\n");
  EXPECT_EQ(get(childs, "/count"), "3\n");
  char bytes[6] = {};
  EXPECT_EQ(::pread(childs.scratch.get(), bytes, sizeof bytes, 0), 6);
  EXPECT_EQ(std::string(bytes, 6), "marker");

  // Neither sees what the other does from here on.
  EXPECT_EQ(get(place, "/fill/20/8"), "filled\n");
  EXPECT_NE(get(place, "/sum"), sum);
  EXPECT_EQ(get(childs, "/sum"), sum);
  for (auto* machine : {parent.get(), child.get()})
    EXPECT_TRUE(lab().run(machine->check_health()));
}

TEST_F(EngineCheckpoint, PagesThatBecameZeroAreZero) {
  Place place = lab().place(), childs = lab().place();
  auto parent = running_clone(place);
  ASSERT_TRUE(parent);
  EXPECT_NE(get(place, "/sum"), "0\n");  // the template's
  EXPECT_EQ(get(place, "/fill/4/0"), "filled\n");
  EXPECT_EQ(get(place, "/sum"), "0\n");
  auto made = checkpoint(*parent);
  auto child = restore(snapshot(), &made, childs);
  resume(*child, childs);
  EXPECT_EQ(get(childs, "/sum"), "0\n");
}

TEST_F(EngineCheckpoint, PausedMachineHasCheckpoints) {
  Place place = lab().place(), childs = lab().place();
  auto parent = clone(place);
  ASSERT_TRUE(parent);
  auto made = checkpoint(*parent);
  std::printf("checkpoint: %zu pages of a machine that has never run\n",
              size_t{engine::pages_in(made.memory.runs)});
  auto child = restore(snapshot(), &made, childs);
  resume(*child, childs);
  EXPECT_EQ(get(childs, "/count"), "2\n");
}

TEST_F(EngineCheckpoint, GenerationsDoNotAddUp) {
  constexpr int kGenerations = 10;
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  EXPECT_EQ(get(place, "/fill/8/3"), "filled\n");
  auto sum = get(place, "/sum");
  std::vector<uint64_t> pages;
  for (int generation = 1; generation <= kGenerations; ++generation) {
    EXPECT_EQ(get(place, "/count"), std::to_string(1 + generation) + "\n");
    auto start = Clock::now();
    auto made = checkpoint(*machine);
    double took = milliseconds_since(start);
    pages.push_back(engine::pages_in(made.memory.runs));
    // Never a chain: whatever the depth, it is the template and one delta.
    EXPECT_EQ(made.base, engine::snapshot_id(snapshot()));
    lab().run(machine->kill());
    place = lab().place();
    start = Clock::now();
    machine = restore(snapshot(), &made, place);
    std::printf("generation %d: %zu pages, checkpoint %.1f ms, child %.1f ms\n", generation,
                size_t{pages.back()}, took, milliseconds_since(start));
    resume(*machine, place);
    EXPECT_EQ(get(place, "/sum"), sum);
  }
  // What a generation adds is what its guest wrote meanwhile, not another 8 MiB.
  EXPECT_LT(pages.back(), pages.front() + kGenerations * 256);
}

TEST_F(EngineCheckpoint, NeitherSeesWhatTheOtherWrites) {
  Place place = lab().place(), first = lab().place(), second = lab().place();
  auto parent = running_clone(place);
  ASSERT_TRUE(parent);
  EXPECT_EQ(get(place, "/churn/1"), "churning\n");
  auto made = checkpoint(*parent);
  auto one = restore(snapshot(), &made, first), two = restore(snapshot(), &made, second);
  resume(*parent, place);
  resume(*one, first);
  resume(*two, second);
  EXPECT_EQ(get(first, "/churn/2"), "churning\n");
  EXPECT_EQ(get(second, "/churn/3"), "churning\n");
  auto tags = [&](const Place& where) {
    auto text = get(where, "/churned").value_or("nothing");
    return text.substr(0, text.find('\n'));
  };
  // All three go on writing; each ends up with its own mark and never has another's.
  auto settles = [&](const Place& where, const std::string& own,
                     const std::vector<std::string>& others) {
    auto end = Clock::now() + kPatient;
    std::string seen;
    do {
      seen = tags(where);
      for (const auto& mark : others) EXPECT_EQ(seen.find(mark), std::string::npos) << seen;
    } while (seen != own && Clock::now() < end);
    EXPECT_EQ(seen, own);
  };
  settles(first, " 2 ", {" 3 "});
  settles(second, " 3 ", {" 2 "});
  settles(place, " 1 ", {" 2 ", " 3 "});
  // The same in the middle of all that writing.
  for (auto* machine : {parent.get(), one.get(), two.get()}) {
    auto again = checkpoint(*machine);
    EXPECT_TRUE(lab().run(machine->resume()));
  }
  EXPECT_EQ(tags(place), " 1 ");
  EXPECT_EQ(tags(first), " 2 ");
  EXPECT_EQ(tags(second), " 3 ");
}

TEST_F(EngineCheckpoint, AdoptedMachineHasCheckpoints) {
  Place place = lab().place(), childs = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  EXPECT_EQ(get(place, "/fill/8/5"), "filled\n");
  auto sum = get(place, "/sum");
  engine::MachineRecord record = machine->record();
  machine->release();
  machine.reset();

  // As after a restart of the daemon: the snapshot, too, is one that was found again.
  std::string directory = lab().directory() / "kept";
  ASSERT_TRUE(engine::save_snapshot(snapshot(), directory));
  auto kept = engine::load_snapshot(directory);
  ASSERT_TRUE(kept) << kept.error().message();
  auto other = lab().make_engine(lab().options());
  auto adopted = lab().run(other->adopt(record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  machine = std::move(adopted.value());
  auto made = checkpoint(*machine);
  auto child = restore(kept.value(), &made, childs);
  EXPECT_EQ(differing_pages(guest_memory(*machine), guest_memory(*child)), 0u);
  resume(*child, childs);
  resume(*machine, place);
  EXPECT_EQ(get(childs, "/sum"), sum);
  EXPECT_EQ(get(place, "/count"), "2\n");
  EXPECT_EQ(get(childs, "/count"), "2\n");
  lab().run(machine->kill());
  EXPECT_EQ(::waitpid(record.pid, nullptr, 0), record.pid);  // it is our child after all

  // Of a machine whose record does not say of what it is a clone, none is made.
  auto unknown = running_clone(place = lab().place());
  ASSERT_TRUE(unknown);
  record = unknown->record();
  unknown->release();
  unknown.reset();
  record.base.clear();
  adopted = lab().run(other->adopt(record));
  ASSERT_TRUE(adopted);
  auto refused = lab().run(adopted.value()->checkpoint());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::failed_precondition);
  lab().run(adopted.value()->kill());
  EXPECT_EQ(::waitpid(record.pid, nullptr, 0), record.pid);
}

TEST_F(EngineCheckpoint, MaterialisedSnapshotIsSharedByItsClones) {
  Place place = lab().place();
  auto parent = running_clone(place);
  ASSERT_TRUE(parent);
  EXPECT_EQ(get(place, "/fill/40/9"), "filled\n");
  EXPECT_EQ(get(place, "/fill/2/0"), "filled\n");  // over what the template has
  EXPECT_EQ(get(place, "/count"), "2\n");
  auto sum = get(place, "/sum");
  auto made = checkpoint(*parent);
  auto start = Clock::now();
  auto own = engine::materialise(snapshot(), made);
  ASSERT_TRUE(own) << own.error().message();
  std::printf("materialised in %.1f ms\n", milliseconds_since(start));

  Place first = lab().place(), second = lab().place();
  auto one = restore(own.value(), nullptr, first);
  EXPECT_EQ(differing_pages(guest_memory(*parent), guest_memory(*one)), 0u);
  resume(*one, first);
  EXPECT_EQ(get(first, "/sum"), sum);
  EXPECT_EQ(get(first, "/count"), "3\n");
  // A checkpoint of such a clone holds what that one has changed, not the 40 MiB.
  auto after = checkpoint(*one);
  EXPECT_EQ(after.base, engine::snapshot_id(own.value()));
  EXPECT_LT(engine::pages_in(after.memory.runs), engine::pages_in(made.memory.runs) / 2);
  auto two = restore(own.value(), &after, second);
  resume(*two, second);
  EXPECT_EQ(get(second, "/sum"), sum);
  EXPECT_EQ(get(second, "/count"), "4\n");

  // And each fits its own snapshot only.
  expect_refused(snapshot(), after, ErrorCode::failed_precondition);
  expect_refused(own.value(), made, ErrorCode::failed_precondition);
  auto refused = engine::materialise(snapshot(), after);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::failed_precondition);
}

TEST_F(EngineCheckpoint, StoredCheckpointRuns) {
  Place place = lab().place(), childs = lab().place();
  auto parent = running_clone(place);
  ASSERT_TRUE(parent);
  EXPECT_EQ(get(place, "/fill/20/11"), "filled\n");
  auto sum = get(place, "/sum");
  auto made = checkpoint(*parent);
  parent.reset();
  for (bool encrypted : {false, true}) {
    engine::Seal seal{"a test", std::nullopt};
    if (encrypted) seal.key = random_bytes(engine::kSealKeyBytes);
    std::string path = lab().directory() / (encrypted ? "encrypted" : "plain");
    auto start = Clock::now();
    auto saved = engine::save_checkpoint(made, path, seal);
    ASSERT_TRUE(saved) << saved.error().message();
    double save_time = milliseconds_since(start);
    start = Clock::now();
    auto loaded = engine::load_checkpoint(path, seal);
    ASSERT_TRUE(loaded) << loaded.error().message();
    std::printf("checkpoint: %s, saved in %.0f ms, loaded in %.0f ms\n",
                encrypted ? "encrypted" : "plain", save_time, milliseconds_since(start));
    childs = lab().place();
    auto child = restore(snapshot(), &loaded.value(), childs);
    resume(*child, childs);
    EXPECT_EQ(get(childs, "/sum"), sum);
  }
}

TEST_F(EngineCheckpoint, EndOfTheVmmMeanwhileLeavesNothing) {
  // With all that the first one may make for all.
  {
    Place place = lab().place();
    auto machine = running_clone(place);
    ASSERT_TRUE(machine);
    (void)checkpoint(*machine);
  }
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  const size_t before = open_descriptors();
  const pid_t pid = machine->record().pid;
  engine::PausedWork kill = [pid]() -> Result<void> {
    kill_and_watch(pid);
    return ok();
  };
  auto made = lab().run(machine->checkpoint(kill));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::unavailable) << made.error().message();
  EXPECT_EQ(open_descriptors(), before);
  // And of one that has ended before.
  made = lab().run(machine->checkpoint());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::unavailable) << made.error().message();
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(EngineCheckpoint, FailureOfThePausedWorkIsPassedOn) {
  Place place = lab().place(), childs = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  engine::PausedWork fail = [] { return Error(ErrorCode::no_space, "the disk is full"); };
  auto made = lab().run(machine->checkpoint(fail));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::no_space);
  // It goes on, and the next one is as good as ever.
  resume(*machine, place);
  EXPECT_EQ(get(place, "/count"), "2\n");
  auto again = checkpoint(*machine);
  auto child = restore(snapshot(), &again, childs);
  resume(*child, childs);
  EXPECT_EQ(get(childs, "/count"), "3\n");
}

TEST_F(EngineCheckpoint, BootedMachineHasNone) {
  Place place = lab().place();
  auto booted =
      lab().run(engine().boot(lab().image(), kSize, place.devices(), place.control_path));
  ASSERT_TRUE(booted) << booted.error().message();
  auto made = lab().run(booted.value().machine->checkpoint());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::failed_precondition);
}

TEST_F(EngineCheckpoint, DamagedCheckpointIsRefused) {
  Place place = lab().place();
  auto machine = running_clone(place);
  ASSERT_TRUE(machine);
  auto made = checkpoint(*machine);
  auto runs = made.memory.runs;
  made.memory.runs.back().first = uint64_t{kSize.memory_mib} * 256;
  expect_refused(snapshot(), made, ErrorCode::corrupted);
  made.memory.runs = runs;
  made.memory.runs.pop_back();
  expect_refused(snapshot(), made, ErrorCode::corrupted);
  made.memory.runs = runs;
  made.device_state.resize(made.device_state.size() / 2);
  expect_refused(snapshot(), made, ErrorCode::corrupted);
}

}  // namespace
}  // namespace hako::test
