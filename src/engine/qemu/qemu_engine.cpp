#include "engine/qemu/qemu_engine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/host_facts.h"
#include "engine/kvm_probe.h"
#include "engine/memory_file.h"
#include "engine/qemu/command_line.h"
#include "engine/qemu/qemu_machine.h"

namespace hako::engine {

namespace {

/// Enough for two machines that stand still at once, each with its memory and its disk.
constexpr size_t kBlockingThreads = 4;

class QemuEngine final : public Engine {
 public:
  QemuEngine(QemuOptions options, Fingerprint fingerprint, std::string accel_reason)
      : options_(std::move(options)),
        fingerprint_(std::move(fingerprint)),
        accel_reason_(std::move(accel_reason)) {}

  const Fingerprint& fingerprint() const override { return fingerprint_; }
  const std::string& accel_reason() const override { return accel_reason_; }

  Task<Result<Booted>> boot(const BootImage& image, const MachineSize& size,
                            const MachineDevices& devices,
                            const std::string& control_path) override;
  Task<Result<Snapshot>> capture(Booted booted, const MachineSize& size) override;
  Task<Result<std::unique_ptr<Machine>>> clone(const Snapshot& base, const Checkpoint* over,
                                               const MachineDevices& devices,
                                               const std::string& control_path) override;
  Task<Result<std::unique_ptr<Machine>>> adopt(const MachineRecord& record) override;

 private:
  QemuSpec spec_for(const MachineSize& size, const MachineDevices& devices,
                    const std::string& control_path) const {
    QemuSpec spec;
    spec.binary = options_.binary;
    spec.label = control_path.substr(control_path.rfind('/') + 1);
    spec.isolation = fingerprint_.isolation;
    spec.size = size;
    spec.mac = devices.mac;
    spec.disk_rate = devices.disk_rate;
    return spec;
  }

  const Launcher& launcher_for(const MachineDevices& devices) const;

  QemuOptions options_;
  Fingerprint fingerprint_;
  std::string accel_reason_;
  BlockingPool blocking_ = std::make_shared<asio::thread_pool>(kBlockingThreads);
};

Result<void> check_devices(const MachineDevices& devices) {
  for (auto [fd, name] :
       {std::pair{devices.rootfs, "rootfs"}, {devices.scratch, "scratch"}, {devices.tap, "tap"}})
    if (fd < 0 || ::fcntl(fd, F_GETFD) < 0)
      return Error(ErrorCode::invalid_argument, std::string("no descriptor for ") + name);
  // QEMU finds a descriptor by the way it was opened, and a root that can be written to would be
  // shared by all machines.
  int flags = ::fcntl(devices.rootfs, F_GETFL);
  if ((flags & O_ACCMODE) != O_RDONLY)
    return Error(ErrorCode::invalid_argument, "rootfs must be opened read-only");
  flags = ::fcntl(devices.scratch, F_GETFL);
  if ((flags & O_ACCMODE) != O_RDWR)
    return Error(ErrorCode::invalid_argument, "scratch must be opened read-write");
  return ok();
}

std::vector<FdMapping> map_devices(const MachineDevices& devices, int memory) {
  return {{memory, QemuFds::memory},
          {devices.rootfs, QemuFds::rootfs},
          {devices.scratch, QemuFds::scratch},
          {devices.tap, QemuFds::tap}};
}

const Launcher& QemuEngine::launcher_for(const MachineDevices& devices) const {
  return devices.launcher ? devices.launcher : options_.launcher;
}

Task<Result<Booted>> QemuEngine::boot(const BootImage& image, const MachineSize& size,
                                      const MachineDevices& devices,
                                      const std::string& control_path) {
  HAKO_CO_TRYV(validate(size, devices.mac));
  HAKO_CO_TRYV(check_devices(devices));
  HAKO_CO_TRY(auto kernel, open_file(image.kernel, O_RDONLY));
  HAKO_CO_TRY(auto initrd, open_file(image.initrd, O_RDONLY));
  HAKO_CO_TRY(auto memory, make_memory_file(size.memory_mib));

  QemuSpec spec = spec_for(size, devices, control_path);
  spec.kernel_cmdline =
      kernel_command_line(fingerprint_.isolation, fingerprint_.tsc_khz, image.cmdline);
  auto fds = map_devices(devices, memory.get());
  fds.push_back({kernel.get(), QemuFds::kernel});
  fds.push_back({initrd.get(), QemuFds::initrd});
  auto executor = co_await asio::this_coro::executor;
  HAKO_CO_TRY(auto started, start_qemu(executor, launcher_for(devices), qemu_command_line(spec),
                                       std::move(fds), control_path));
  auto machine = std::make_unique<QemuMachine>(std::move(started), options_.control_timeout,
                                               blocking_, std::string());
  auto begun = co_await machine->begin(options_.start_timeout);
  if (!begun) co_return begun.error().with_context("start VMM");
  co_return Booted{std::move(machine), std::move(memory)};
}

Task<Result<Snapshot>> QemuEngine::capture(Booted booted, const MachineSize& size) {
  auto* machine = dynamic_cast<QemuMachine*>(booted.machine.get());
  if (!machine) co_return Error(ErrorCode::invalid_argument, "capture: not a machine of QEMU");
  auto state = co_await machine->save();
  if (!state) co_return state.error().with_context("capture");
  // Until the VMM has gone it maps the memory for writing, and that cannot be sealed.
  co_await machine->quit();
  HAKO_CO_TRYV(seal_memory_file(booted.memory.get(), size.memory_mib));
  co_return Snapshot{size, fingerprint_, std::move(state.value()), std::move(booted.memory)};
}

Task<Result<std::unique_ptr<Machine>>> QemuEngine::clone(const Snapshot& snapshot,
                                                         const Checkpoint* over,
                                                         const MachineDevices& devices,
                                                         const std::string& control_path) {
  if (!snapshot.fingerprint.compatible_with(fingerprint_))
    co_return Error(ErrorCode::failed_precondition,
                    "snapshot was made by another VMM, on another host, or with another isolation");
  HAKO_CO_TRYV(validate(snapshot.size, devices.mac));
  HAKO_CO_TRYV(check_devices(devices));
  HAKO_CO_TRYV(check_sealed(snapshot.memory.get(), snapshot.size.memory_mib));
  std::string base = snapshot_id(snapshot);
  if (over && over->base != base)
    co_return Error(ErrorCode::failed_precondition, "checkpoint is of another snapshot's clone");

  QemuSpec spec = spec_for(snapshot.size, devices, control_path);
  auto executor = co_await asio::this_coro::executor;
  HAKO_CO_TRY(auto started, start_qemu(executor, launcher_for(devices), qemu_command_line(spec),
                                       map_devices(devices, snapshot.memory.get()), control_path));
  auto machine = std::make_unique<QemuMachine>(std::move(started), options_.control_timeout,
                                               blocking_, std::move(base));
  const std::string& state = over ? over->device_state : snapshot.device_state;
  auto loaded =
      co_await machine->load(state, over ? &over->memory : nullptr, options_.start_timeout);
  if (!loaded) co_return loaded.error().with_context("restore");
  std::unique_ptr<Machine> restored = std::move(machine);
  co_return std::move(restored);
}

Task<Result<std::unique_ptr<Machine>>> QemuEngine::adopt(const MachineRecord& record) {
  auto executor = co_await asio::this_coro::executor;
  HAKO_CO_TRY(auto process, Process::adopt(executor, record.pid, record.start_time));
  // Whatever becomes of this call: only kill() ends a machine that is not of our making.
  process.release();
  auto control = qmp::Client::connect(executor, record.control_path);
  if (!control) {
    if (control.error().code() == ErrorCode::timed_out) co_return control.error();
    co_return Error(ErrorCode::unavailable, control.error().message());
  }
  QemuProcess found{std::move(process), std::move(control.value()), record.control_path, Fd()};
  auto machine = std::make_unique<QemuMachine>(std::move(found), options_.control_timeout,
                                               blocking_, record.base);
  machine->release();
  auto greeted = co_await machine->greet();
  if (!greeted) co_return greeted.error().with_context("adopt");
  std::unique_ptr<Machine> adopted = std::move(machine);
  co_return std::move(adopted);
}

struct AccelChoice {
  Isolation isolation;
  std::string reason;
};

Result<AccelChoice> choose_accel(const QemuOptions& options) {
  if (options.accel == AccelMode::tcg)
    return AccelChoice{Isolation::emulated, "emulation was asked for"};
  const std::string device = "/dev/kvm";
  KvmProbe probe =
      probe_kvm(device, options.probe_limit,
                options.skip_instruction_probe ? ProbeDepth::creation : ProbeDepth::instructions);
  if (probe.usable) return AccelChoice{Isolation::hardware, probe.reason};
  if (options.accel == AccelMode::kvm)
    return Error(ErrorCode::unsupported, "KVM is not usable here: " + probe.reason);
  return AccelChoice{Isolation::emulated, "KVM is not usable here: " + probe.reason};
}

}  // namespace

Task<Result<std::unique_ptr<Engine>>> make_qemu_engine(QemuOptions options) {
  HAKO_CO_TRY(auto accel, choose_accel(options));
  auto build = co_await read_vmm_build(options.binary);
  if (!build) {
    if (build.error().code() == ErrorCode::not_found)
      co_return Error(ErrorCode::not_found,
                      "no QEMU at " + options.binary + "; Debian has it in qemu-system-x86");
    co_return build.error();
  }
  Fingerprint fingerprint;
  fingerprint.engine = "qemu";
  fingerprint.vmm_build = build.value() + "; layout " + std::to_string(kDeviceLayout);
  fingerprint.isolation = accel.isolation;
  fingerprint.cpu = host_cpu();
  fingerprint.tsc_khz = co_await measure_tsc_khz();
  std::unique_ptr<Engine> engine = std::make_unique<QemuEngine>(
      std::move(options), std::move(fingerprint), std::move(accel.reason));
  co_return std::move(engine);
}

}  // namespace hako::engine
