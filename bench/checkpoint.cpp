// Forks of a running machine by the engine, and by QEMU's own migration to a file and back.
// Prints rows for bench/run as JSON.
//
//   checkpoint_bench [ROUNDS]
#include <sys/mman.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <iostream>
#include <map>

#include "engine/qemu/command_line.h"
#include "engine/qemu/qemu_machine.h"
#include "engine/qemu/qemu_state.h"
#include "support/engine_lab.h"

namespace {

namespace json = boost::json;
using namespace hako;
using test::Clock;
using test::Lab;
using test::Place;

constexpr engine::MachineSize kSize{1, 512};
constexpr int kDirtyMib[] = {1, 20, 100, 200};
constexpr auto kPatience = std::chrono::seconds(60);

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(result.value());
}

using Rows = std::map<std::string, std::vector<double>>;

struct Bench {
  Lab lab;
  std::unique_ptr<engine::Engine> engine;
  engine::QemuOptions options;
  engine::Snapshot snapshot;
  std::optional<Place> place, childs;  ///< of one round after the other
  Rows rows;
};

void prepare(Bench& bench) {
  bench.options = bench.lab.options();
  bench.engine = bench.lab.make_engine(bench.options);
  Place place = bench.lab.place();
  auto booted = need(bench.lab.boot_ready(*bench.engine, kSize, place));
  bench.snapshot = need(bench.lab.run(bench.engine->capture(std::move(booted), kSize)));
  bench.place = bench.lab.place();
  bench.childs = bench.lab.place();
}

/// A running clone that has written to so much of its memory.
std::unique_ptr<engine::Machine> dirty_clone(Bench& bench, const Place& place, int mib) {
  auto machine = need(
      bench.lab.run(bench.engine->clone(bench.snapshot, place.devices(), place.control_path)));
  need(bench.lab.run(machine->resume()));
  if (!bench.lab.wait_ready(place.slot, kPatience)) throw std::runtime_error("no answer");
  if (bench.lab.get(place.slot, "/touch/" + std::to_string(mib) + "/1", kPatience) != "touched\n")
    throw std::runtime_error("guest does not touch its memory");
  return machine;
}

std::string row_name(const std::string& who, const std::string& what, int mib) {
  return "fork, " + std::to_string(mib) + " MiB dirty, " + who + ": " + what;
}

void by_engine(Bench& bench, int mib) {
  const Place &place = *bench.place, &childs = *bench.childs;
  auto parent = dirty_clone(bench, place, mib);
  auto begin = Clock::now();
  engine::Checkpoint made = need(bench.lab.run(parent->checkpoint()));
  need(bench.lab.run(parent->resume()));
  double paused = seconds_since(made.paused_at);
  auto child = need(bench.lab.run(
      bench.engine->clone(bench.snapshot, &made, childs.devices(), childs.control_path)));
  need(bench.lab.run(child->resume()));
  double ready = seconds_since(begin);
  if (!bench.lab.wait_ready(childs.slot, kPatience)) throw std::runtime_error("no answer");
  bench.rows[row_name("hako", "pause", mib)].push_back(paused);
  bench.rows[row_name("hako", "child runs", mib)].push_back(ready);
  bench.rows[row_name("hako", "child's first answer", mib)].push_back(seconds_since(begin));

  begin = Clock::now();
  engine::Snapshot own = need(engine::materialise(bench.snapshot, made));
  bench.rows[row_name("hako", "made a snapshot of its own", mib)].push_back(seconds_since(begin));
}

enum class Migration { stopped, live };

/// All of the machine's state in a file. Returns how long it stood still.
Task<Result<double>> migrate_out(engine::qmp::Client& qmp, int file, Migration how) {
  constexpr auto kLimit = std::chrono::seconds(60);
  auto begin = Clock::now();
  std::vector<engine::qmp::Command> commands;
  commands.push_back({"qmp_capabilities", {}});
  // Else it keeps to 128 MiB/s.
  commands.push_back({"migrate-set-parameters", {{"max-bandwidth", int64_t{1} << 40}}});
  if (how == Migration::stopped) commands.push_back({"stop", {}});
  commands.push_back({"getfd", {{"fdname", "out"}}});
  commands.push_back({"migrate", {{"uri", "fd:out"}}});
  HAKO_CO_TRYV(co_await qmp.call_all(std::move(commands), kLimit, file));
  std::vector<std::string> ends{"completed", "failed"};
  HAKO_CO_TRY(auto status, co_await qmp.wait_status("MIGRATION", std::move(ends), kLimit));
  if (status != "completed") co_return Error(ErrorCode::unavailable, "migration " + status);
  double paused = seconds_since(begin);
  if (how == Migration::live) {
    engine::qmp::Command query{"query-migrate", {}};
    HAKO_CO_TRY(auto told, co_await qmp.call(std::move(query), kLimit));
    paused = static_cast<double>(told.as_object().at("downtime").as_int64()) / 1000;
  }
  // It says that it has completed a little before it can go on.
  for (std::string state; state != "postmigrate";) {
    engine::qmp::Command query{"query-status", {}};
    HAKO_CO_TRY(auto answer, co_await qmp.call(std::move(query), kLimit));
    HAKO_CO_TRY(state, engine::status_in(answer));
  }
  engine::qmp::Command go_on{"cont", {}};
  HAKO_CO_TRYV(co_await qmp.call(std::move(go_on), kLimit));
  co_return paused;
}

Task<Result<void>> migrate_in(engine::qmp::Client& qmp, int file) {
  constexpr auto kLimit = std::chrono::seconds(60);
  std::vector<engine::qmp::Command> commands;
  commands.push_back({"qmp_capabilities", {}});
  commands.push_back({"migrate-set-capabilities", engine::migration_capabilities()});
  commands.push_back({"getfd", {{"fdname", "in"}}});
  commands.push_back({"migrate-incoming", {{"uri", "fd:in"}}});
  HAKO_CO_TRYV(co_await qmp.call_all(std::move(commands), kLimit, file));
  std::vector<std::string> ends{"completed", "failed"};
  HAKO_CO_TRY(auto status, co_await qmp.wait_status("MIGRATION", std::move(ends), kLimit));
  if (status != "completed") co_return Error(ErrorCode::unavailable, "migration " + status);
  engine::qmp::Command go_on{"cont", {}};
  HAKO_CO_TRYV(co_await qmp.call(std::move(go_on), kLimit));
  co_return ok();
}

void by_migration(Bench& bench, int mib, Migration how) {
  const std::string who = how == Migration::live ? "QEMU's live migration" : "QEMU's migration";
  const Place &place = *bench.place, &childs = *bench.childs;
  auto parent = dirty_clone(bench, place, mib);
  auto record = parent->record();
  parent->release();
  parent.reset();  // QEMU has one control channel
  auto executor = bench.lab.executor();
  auto process = need(Process::adopt(executor, record.pid, record.start_time));
  auto control = need(engine::qmp::Client::connect(executor, record.control_path));

  Fd file(::memfd_create("migration", MFD_CLOEXEC));
  auto begin = Clock::now();
  double paused = need(bench.lab.run(migrate_out(control, file.get(), how)));

  engine::QemuSpec spec;
  spec.binary = bench.options.binary;
  spec.isolation = bench.engine->fingerprint().isolation;
  spec.size = kSize;
  spec.mac = childs.devices().mac;
  std::vector<FdMapping> fds{{bench.snapshot.memory.get(), engine::QemuFds::memory},
                             {childs.rootfs.get(), engine::QemuFds::rootfs},
                             {childs.scratch.get(), engine::QemuFds::scratch},
                             {childs.tap.get(), engine::QemuFds::tap}};
  ::lseek(file.get(), 0, SEEK_SET);
  auto child = need(engine::start_qemu(executor, bench.options.launcher,
                                       engine::qemu_command_line(spec), std::move(fds),
                                       childs.control_path));
  need(bench.lab.run(migrate_in(child.control, file.get())));
  double ready = seconds_since(begin);
  if (!bench.lab.wait_ready(childs.slot, kPatience)) throw std::runtime_error("no answer");
  bench.rows[row_name(who, "pause", mib)].push_back(paused);
  bench.rows[row_name(who, "child runs", mib)].push_back(ready);
  bench.rows[row_name(who, "child's first answer", mib)].push_back(seconds_since(begin));
  bench.lab.run(child.process.kill());
  bench.lab.run(process.kill());
  ::unlink(childs.control_path.c_str());
  ::unlink(record.control_path.c_str());
}

}  // namespace

int main(int argc, char** argv) try {
  int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  Bench bench;
  prepare(bench);
  for (int round = 0; round < rounds; ++round)
    for (int mib : kDirtyMib) {
      by_engine(bench, mib);
      by_migration(bench, mib, Migration::stopped);
      by_migration(bench, mib, Migration::live);
    }
  json::array rows;
  for (int mib : kDirtyMib)
    for (const auto& [name, seconds] : bench.rows)
      if (name.rfind("fork, " + std::to_string(mib) + " ", 0) == 0)
        rows.push_back(json::object{
            {"name", name}, {"unit", "ms"}, {"seconds", json::value_from(seconds)}});
  std::cout << json::serialize(rows) << "\n";
  return 0;
} catch (const std::exception& e) {
  std::cerr << "checkpoint_bench: " << e.what() << "\n";
  return 1;
}
