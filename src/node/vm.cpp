#include "node/vm.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/encoding.h"
#include "base/log.h"
#include "base/random.h"
#include "jail/jail.h"
#include "node/machine_limits.h"

namespace hako::node {
namespace {

/// Sockets the gate gets with each machine: one for our own calls, and a few for the first users.
constexpr int kFirstSockets = 4;
/// Its guest may be one of many that a busy host has just woken.
constexpr auto kIdentifyTime = std::chrono::seconds(30);

Result<Fd> copy_disk(int source, const std::string& to) {
  HAKO_TRY(auto target, open_file(to, O_RDWR | O_CREAT | O_EXCL, 0600));
  auto copied = clone_file(source, target.get());
  if (!copied) return copied.error().with_context("copy scratch disk");
  return target;
}

/// A file that is gone with its last descriptor.
Result<Fd> unnamed_file(const std::string& folder) {
  return open_file(folder, O_RDWR | O_TMPFILE, 0600);
}

Result<uint64_t> size_of(int file) {
  struct stat info {};
  if (::fstat(file, &info) < 0) return Error::from_errno(errno, "stat a disk");
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

Error Vm::does_not_answer() {
  return Error(ErrorCode::unavailable, "the box's machine has ended, or does not answer now");
}

void remove_vm_files(const Context& context, const std::string& machine) {
  std::error_code error;
  std::filesystem::remove_all(context.vm_dir() + "/" + machine, error);
  if (error) log_error("vm_files_not_removed", {{"machine", machine}, {"error", error.message()}});
  ::unlink((context.control_dir() + "/" + machine).c_str());
}

Vm::Vm(Context& context, VmRecord record) : context_(context), record_(std::move(record)) {
  context_.machines[record_.machine] = this;
}

Vm::~Vm() {
  context_.machines.erase(record_.machine);
}

Result<void> Vm::write_record() {
  std::string text = boost::json::serialize(to_json(record_));
  // One that could not be read would lose its box with the next start.
  if (text.size() > kLargestRecord)
    return Error(ErrorCode::too_large, "what is to be kept of the machine is too much");
  return write_file_atomically(folder() + "/record.json", text, 0600, Durability::process_end);
}

Result<void> Vm::update_record(const std::function<void(VmRecord&)>& change) {
  change(record_);
  return write_record();
}

Task<Result<std::unique_ptr<Vm>>> Vm::prepare(Context& context, VmRecord record, int disk) {
  auto slot = co_await context.slots.acquire();
  if (!slot) co_return slot.error();
  record.slot = slot.value().number;
  record.machine = "m" + std::to_string(record.slot) + "-" + random_lower_alphanumeric(8);
  record.vmm.control_path = context.control_dir() + "/" + record.machine;
  std::unique_ptr<Vm> vm(new Vm(context, std::move(record)));
  vm->slot_ = std::move(slot).value();

  Vm* raw = vm.get();
  auto work = [raw, disk]() -> Result<Fd> {
    std::error_code error;
    std::filesystem::create_directory(raw->folder(), error);
    if (error) return Error::from_errno(error.value(), "create " + raw->folder());
    HAKO_TRYV(raw->write_record());
    auto doors = raw->context_.shares.enter(raw->record_.machine, raw->record_.tenant,
                                            raw->record_.size);
    if (!doors) {
      log_error("share_not_given",
                {{"machine", raw->record_.machine}, {"error", doors.error().message()}});
      return Error(ErrorCode::unavailable, "the machine cannot be given its limits now");
    }
    raw->doors_ = std::move(doors).value();
    return copy_disk(disk, raw->folder() + "/scratch.raw");
  };
  auto scratch = co_await run_blocking(context.blocking, work);
  if (!scratch) {
    co_await vm->destroy();
    co_return scratch.error();
  }
  vm->scratch_ = std::move(scratch).value();
  co_return std::move(vm);
}

Result<engine::MachineDevices> Vm::devices(int rootfs, Fd& own_rootfs, Fd& tap) {
  // Opened anew for each machine: the flags of an open file are shared by all who inherited it, and
  // a VMM that was taken over could spoil the reads of its siblings with them.
  HAKO_TRY(own_rootfs, open_file("/proc/self/fd/" + std::to_string(rootfs), O_RDONLY));
  HAKO_TRY(tap, network::open_tap(slot_));
  engine::MachineDevices devices;
  devices.rootfs = own_rootfs.get();
  devices.scratch = scratch_.get();
  devices.tap = tap.get();
  devices.mac = network::kGuestMac;
  devices.disk_rate = disk_rate(context_.config);
  jail::VmmJail jail;
  jail.uid = context_.config.vmm_uid_base + static_cast<uint32_t>(slot_.number);
  jail.gid = jail.uid;
  jail.netns = context_.empty_netns;
  for (const Fd& door : doors_) jail.cgroups.push_back(door.get());
  jail.kvm = record_.isolation == engine::Isolation::hardware;
  HAKO_TRY(jail.largest_file, size_of(scratch_.get()));
  devices.launcher = [executor = context_.executor, jail](const ProcessSpec& spec) {
    return jail::start_vmm(executor, spec, jail);
  };
  return devices;
}

Task<Result<std::unique_ptr<Vm>>> Vm::clone(Context& context, Bases::Base snapshot,
                                             std::string tenant) {
  VmRecord record;
  record.tenant = std::move(tenant);
  record.template_name = snapshot->template_name;
  record.size = snapshot->memory.size;
  record.disk_mib = snapshot->disk_mib;
  record.defaults = snapshot->defaults;
  int disk = snapshot->disk.get();
  co_return co_await start(context, std::move(record), std::move(snapshot), nullptr, disk);
}

Task<Result<std::unique_ptr<Vm>>> Vm::restore(Context& context, const BoxState& state,
                                               const CheckpointRecord& of, std::string tenant) {
  VmRecord record;
  record.tenant = std::move(tenant);
  record.template_name = of.template_name;
  record.size = of.size;
  record.disk_mib = of.disk_mib;
  record.defaults = of.defaults;
  record.generation = state.generation;
  co_return co_await start(context, std::move(record), state.base, state.machine.get(),
                           state.disk.get());
}

Task<Result<std::unique_ptr<Vm>>> Vm::start(Context& context, VmRecord record, Bases::Base base,
                                             const engine::Checkpoint* over, int disk) {
  record.isolation = context.engine.fingerprint().isolation;
  auto prepared = co_await prepare(context, std::move(record), disk);
  if (!prepared) co_return prepared.error().with_context("clone");
  auto vm = std::move(prepared).value();
  vm->base_ = base;

  Fd rootfs, tap;
  auto devices = vm->devices(base->rootfs.get(), rootfs, tap);
  if (!devices) {
    co_await vm->destroy();
    co_return devices.error().with_context("clone");
  }
  auto machine = co_await context.engine.clone(base->memory, over, devices.value(),
                                               vm->record_.vmm.control_path);
  if (!machine) {
    co_await vm->destroy();
    co_return machine.error().with_context("clone");
  }
  vm->doors_.clear();
  vm->machine_ = std::move(machine).value();
  vm->record_.vmm = vm->machine_->record();
  Result<void> done = vm->write_record();
  if (done) done = co_await vm->announce();
  if (done) done = co_await vm->machine_->resume();
  if (!done) {
    co_await vm->destroy();
    co_return done.error().with_context("clone");
  }
  co_return std::move(vm);
}

Task<Result<std::unique_ptr<Vm>>> Vm::boot(Context& context, const ColdBoot& boot) {
  VmRecord record;
  record.tenant = boot.tenant;
  record.template_name = boot.template_name;
  record.size = boot.size;
  record.disk_mib = boot.disk_mib;
  record.isolation = context.engine.fingerprint().isolation;
  auto rootfs = open_file(boot.rootfs, O_RDONLY);
  if (!rootfs) co_return rootfs.error().with_context("boot");
  auto disk = open_file(boot.disk, O_RDONLY);
  if (!disk) co_return disk.error().with_context("boot");
  auto prepared = co_await prepare(context, std::move(record), disk.value().get());
  if (!prepared) co_return prepared.error().with_context("boot");
  auto vm = std::move(prepared).value();

  Fd own_rootfs, tap;
  auto devices = vm->devices(rootfs.value().get(), own_rootfs, tap);
  if (!devices) {
    co_await vm->destroy();
    co_return devices.error().with_context("boot");
  }
  auto booted = co_await context.engine.boot(boot.image, boot.size, devices.value(),
                                             vm->record_.vmm.control_path);
  if (!booted) {
    co_await vm->destroy();
    co_return booted.error().with_context("boot");
  }
  vm->doors_.clear();
  vm->booted_ = std::move(booted.value().machine);
  vm->boot_memory_ = std::move(booted.value().memory);
  vm->record_.vmm = vm->booted_->record();
  Result<void> done = vm->write_record();
  if (done) done = co_await vm->announce();
  if (!done) {
    co_await vm->destroy();
    co_return done.error().with_context("boot");
  }
  co_return std::move(vm);
}

Task<ExitStatus> Vm::boot_ended() {
  return booted_->wait_end();
}

Task<std::string> Vm::boot_console() {
  if (!booted_) co_return "";
  auto console = co_await booted_->console_tail();
  co_return console ? std::move(console).value() : console.error().message();
}

Task<Result<void>> Vm::copy_scratch(std::string to) {
  if (!booted_) co_return Error(ErrorCode::internal, "only a booted machine's disk is copied");
  auto turn = co_await turns_.take();
  HAKO_CO_TRYV(co_await booted_->pause());
  auto work = [from = scratch_.get(), to]() -> Result<void> {
    HAKO_TRYV(copy_disk(from, to));
    return ok();
  };
  Result<void> copied = co_await run_blocking(context_.blocking, work);
  Result<void> resumed = co_await booted_->resume();
  if (!copied) co_return copied.error();
  co_return resumed;
}

Task<Result<engine::Snapshot>> Vm::capture(std::unique_ptr<Vm> vm, std::string disk) {
  Context& context = vm->context_;
  engine::Booted booted;
  booted.machine = std::move(vm->booted_);
  booted.memory = std::move(vm->boot_memory_);
  auto snapshot = co_await context.engine.capture(std::move(booted), vm->record_.size);
  Result<void> copied = ok();
  if (snapshot) {
    auto work = [from = vm->scratch_.get(), disk]() -> Result<void> {
      HAKO_TRYV(copy_disk(from, disk));
      return ok();
    };
    copied = co_await run_blocking(context.blocking, work);
  }
  co_await vm->destroy();
  if (!copied) co_return copied.error().with_context("capture");
  if (!snapshot) co_return snapshot.error().with_context("capture");
  co_return std::move(snapshot);
}

std::unique_ptr<Vm> Vm::known(Context& context, VmRecord record) {
  std::unique_ptr<Vm> vm(new Vm(context, std::move(record)));
  vm->slot_.number = vm->record_.slot;
  vm->stands_still_ = true;
  return vm;
}

Task<Result<void>> Vm::find_again() {
  // This first: it may fail often, and takes little where the VMM is not at fault.
  HAKO_CO_TRY(auto machine, co_await context_.engine.adopt(record_.vmm));
  HAKO_CO_TRY(auto slot, context_.slots.open(record_.slot));
  // Its end came in between.
  if (slot_.number < 0) co_return does_not_answer();
  slot_ = std::move(slot);
  machine_ = std::move(machine);
  co_return ok();
}

Task<Result<void>> Vm::announce() {
  HAKO_CO_TRY(auto egress, network::open_egress(slot_));
  HAKO_CO_TRY(auto sockets, open_sockets(kFirstSockets));
  co_return co_await context_.gate.add(record_.machine, std::move(egress), std::move(sockets));
}

Result<std::vector<Fd>> Vm::open_sockets(int count) const {
  return network::open_sockets(slot_, count);
}

Task<Result<void>> Vm::identify(const std::string& sandbox, boost::json::object envs, Trust trust) {
  // A template's own machine stays the first, so that each of its clones is a later one.
  record_.generation = booted_ ? 0 : record_.generation + 1;
  auto now =
      std::chrono::duration_cast<std::chrono::nanoseconds>(WallClock::now().time_since_epoch());
  boost::json::object init = {
      {"entropy", base64_encode(random_bytes(64))},
      {"timestampNs", std::to_string(now.count())},
      {"hostname", sandbox},
      {"machineId", random_hex(16)},
      {"bootId", random_uuid()},
      {"generation", record_.generation},
      {"sandboxId", sandbox},
      {"templateId", record_.template_name},
      {"defaultUser", record_.defaults.user},
      {"defaultWorkdir", record_.defaults.workdir},
  };
  boost::json::object variables = record_.defaults.envs;
  for (auto& entry : trust.placeholders) variables[entry.key()] = std::move(entry.value());
  for (auto& entry : envs) variables[entry.key()] = std::move(entry.value());
  init["envVars"] = std::move(variables);
  if (!trust.ca_certificate.empty()) init["caCertificate"] = std::move(trust.ca_certificate);
  if (!record_.access_token.empty()) init["accessToken"] = record_.access_token;
  auto done = co_await context_.gate.init(record_.machine, std::move(init), kIdentifyTime);
  if (!done) co_return done.error().with_context("tell the guest who it is");
  co_return ok();
}

Task<void> Vm::take_share() {
  auto turn = co_await sharing_.take();
  if (!machine_) co_return;
  auto work = [this] {
    context_.shares.move(record_.machine, record_.tenant, record_.vmm.pid, record_.size);
    return true;
  };
  co_await run_blocking(context_.blocking, work);
}

Task<std::optional<std::string>> Vm::out_of_memory() {
  auto work = [this] { return context_.shares.out_of_memory(record_.machine); };
  co_return co_await run_blocking(context_.blocking, work);
}

Task<void> Vm::destroy() {
  auto sharing = co_await sharing_.take();
  // Streams are cut first, so that nobody sees a half-dead machine.
  co_await context_.gate.remove(record_.machine);
  if (booted_) co_await booted_->kill();
  if (machine_) {
    co_await machine_->kill();
  } else if (record_.vmm.pid > 0) {
    // A VMM that could not be adopted may still run.
    auto process = Process::adopt(context_.executor, record_.vmm.pid, record_.vmm.start_time);
    if (process) co_await process.value().kill();
  }
  booted_.reset();
  machine_.reset();
  scratch_.reset();
  if (slot_.number >= 0) {
    network::Slot slot = std::move(slot_);
    slot_ = {};
    co_await context_.slots.dispose(std::move(slot));
  }
  auto work = [this] {
    context_.shares.leave(record_.machine);
    remove_vm_files(context_, record_.machine);
    return true;
  };
  co_await run_blocking(context_.blocking, work);
}

Task<Result<BoxState>> Vm::stop_and_take_state(bool memory) {
  if (!base_) co_return Error(ErrorCode::failed_precondition, "what the box stands on is not known");
  BoxState state;
  state.base = base_;
  state.generation = record_.generation;
  state.memory = memory;
  // Before anything stands still: this may have to wait for the file system.
  HAKO_CO_TRY(state.disk, unnamed_file(context_.checkpoint_dir()));
  HAKO_CO_TRY(auto scratch, open_file(folder() + "/scratch.raw", O_RDONLY));
  // Else the VMM would wait for the disk when it is to stop.
  auto flush = [&scratch]() -> Result<void> {
    if (::fdatasync(scratch.get()) < 0) return Error::from_errno(errno, "sync a scratch disk");
    return ok();
  };
  HAKO_CO_TRYV(co_await run_blocking(context_.blocking, flush));
  stands_still_ = true;
  HAKO_CO_TRYV(co_await context_.gate.freeze(record_.machine));
  engine::PausedWork copy = [&]() -> Result<void> {
    HAKO_TRY(auto method, clone_file(scratch.get(), state.disk.get()));
    (void)method;
    return ok();
  };
  auto machine = machine_;  // destroy() does not wait for this
  if (!machine) co_return does_not_answer();
  if (memory) {
    auto taken = co_await machine->checkpoint(std::move(copy));
    if (!taken) co_return taken.error().with_context("take a machine's state");
    state.machine = std::make_shared<const engine::Checkpoint>(std::move(taken).value());
    co_return std::move(state);
  }
  HAKO_CO_TRYV(co_await machine->pause());
  HAKO_CO_TRYV(co_await run_blocking(context_.blocking, copy));
  co_return std::move(state);
}

Task<Result<void>> Vm::go_on() {
  auto machine = machine_;
  if (!machine) co_return does_not_answer();
  HAKO_CO_TRYV(co_await machine->resume());
  auto thawed = co_await context_.gate.thaw(record_.machine);
  // A guest from before there was this has stopped nothing.
  if (!thawed && thawed.error().code() != ErrorCode::unsupported) co_return thawed.error();
  stands_still_ = false;
  co_return ok();
}

void Vm::release() {
  if (machine_) machine_->release();
}

}  // namespace hako::node
