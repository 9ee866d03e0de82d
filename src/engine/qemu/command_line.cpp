#include "engine/qemu/command_line.h"

#include <algorithm>
#include <cctype>

namespace hako::engine {

namespace {

std::string inherited(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

/// A comma would start a new option.
std::string plain(const std::string& label) {
  std::string text = label.substr(0, 64);
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') c = '_';
  return text.empty() ? "machine" : text;
}

/// As QEMU's JSON form of an object: its limits have no other that is not called experimental.
std::string throttle_group(const DiskRate& rate) {
  std::string limits;
  auto add = [&limits](const char* name, int64_t value) {
    if (value <= 0) return;
    limits += (limits.empty() ? "\"" : ",\"") + std::string(name) + "\":" + std::to_string(value);
  };
  add("bps-total", rate.bytes_per_second);
  add("iops-total", rate.operations_per_second);
  return "{\"qom-type\":\"throttle-group\",\"id\":\"disk-rate\",\"limits\":{" + limits + "}}";
}

std::string machine_options(Isolation isolation) {
  std::string options =
      "microvm,x-option-roms=off,pit=off,pic=off,isa-serial=off,graphics=off,dump-guest-core=off,"
      "mem-merge=off,memory-backend=m0";
  // Under KVM the paravirtual clock keeps time. Under emulation a boot without the RTC takes one to
  // two seconds longer.
  options += isolation == Isolation::hardware ? ",rtc=off" : ",rtc=on";
  return options;
}

}  // namespace

std::vector<std::string> qemu_command_line(const QemuSpec& spec) {
  const bool hardware = spec.isolation == Isolation::hardware;
  const bool boots = spec.kernel_cmdline.has_value();
  const std::string memory = std::to_string(spec.size.memory_mib) + "M";
  std::vector<std::string> argv{
      spec.binary,
      "-name",
      plain(spec.label) + ",debug-threads=on",
      "-nodefaults",
      "-no-user-config",
      "-nographic",
      "-no-reboot",
      "-S",
      "-machine",
      machine_options(spec.isolation),
      "-smp",
      std::to_string(spec.size.vcpus),
      "-m",
      memory,
      // A clone maps the sealed memory of its template privately.
      "-object",
      "memory-backend-file,id=m0,size=" + memory + ",mem-path=" + inherited(QemuFds::memory) +
          ",share=" + (boots ? "on" : "off"),
      // States are exchanged between machines of one layout only, and some kinds of state carry no
      // section to describe it.
      "-global",
      "migration.send-configuration=off",
      // Announcing a guest's address is pointless on a tap of its own. Not 0: virtio-net would have
      // no timer then, which QEMU 7.2 stops without looking when the guest resets the device.
      "-global",
      "migration.announce-rounds=1",
      "-chardev",
      "socket,id=qmp,fd=" + std::to_string(QemuFds::control) + ",server=on,wait=off",
      "-mon",
      "chardev=qmp,mode=control",
      "-sandbox",
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
  };
  auto add = [&argv](std::initializer_list<std::string> arguments) {
    argv.insert(argv.end(), arguments);
  };
  if (hardware) {
    add({"-accel", "kvm", "-cpu", "host"});
  } else {
    // The default translation buffer may grow to a gigabyte for each machine.
    add({"-accel", "tcg,thread=single,tb-size=64", "-cpu", "max"});
  }
  add({"-chardev", "ringbuf,id=console,size=65536", "-device",
       "virtio-serial-device,id=serial,max_ports=1", "-device",
       "virtconsole,chardev=console,bus=serial.0"});
  // Not stopping on a full host disk: the guest gets an I/O error and the box stays manageable.
  add({"-add-fd", "fd=" + std::to_string(QemuFds::rootfs) + ",set=1,opaque=rootfs", "-blockdev",
       "driver=file,node-name=rootfs,filename=/dev/fdset/1,read-only=on,auto-read-only=off,"
       "locking=off,cache.direct=off,cache.no-flush=off",
       "-device", "virtio-blk-device,id=vda,drive=rootfs,num-queues=1,rerror=report,werror=report",
       "-add-fd", "fd=" + std::to_string(QemuFds::scratch) + ",set=2,opaque=scratch"});
  const bool slowed = spec.disk_rate.bytes_per_second > 0 || spec.disk_rate.operations_per_second > 0;
  // What the guest has synced need not be on the host's disk: a box does not outlast its host's memory,
  // and what is kept of it is synced when it is kept. A busy disk would hold up each sync for seconds.
  const std::string scratch_file = slowed ? "scratch-file" : "scratch";
  add({"-blockdev", "driver=file,node-name=" + scratch_file +
                        ",filename=/dev/fdset/2,read-only=off,discard=unmap,locking=off,"
                        "cache.direct=off,cache.no-flush=on"});
  // A filter in front of the disk's file: the guest's device, and so its saved state, is the same.
  if (slowed)
    add({"-object", throttle_group(spec.disk_rate), "-blockdev",
         "driver=throttle,node-name=scratch,throttle-group=disk-rate,file=scratch-file,"
         "read-only=off,discard=unmap"});
  add({"-device",
       "virtio-blk-device,id=vdb,drive=scratch,num-queues=1,rerror=report,werror=report"});
  add({"-netdev", "tap,id=net0,fd=" + std::to_string(QemuFds::tap) + ",vhost=off", "-device",
       "virtio-net-device,id=eth0,netdev=net0,mac=" + spec.mac, "-object", "rng-builtin,id=rng0",
       "-device", "virtio-rng-device,id=rng,rng=rng0"});
  if (boots) {
    add({"-kernel", inherited(QemuFds::kernel), "-initrd", inherited(QemuFds::initrd), "-append",
         *spec.kernel_cmdline});
  } else {
    add({"-incoming", "defer"});
  }
  return argv;
}

std::string kernel_command_line(Isolation isolation, int64_t tsc_khz, const std::string& extra) {
  std::string line = "reboot=t panic=-1 quiet console=hvc0";
  if (isolation == Isolation::emulated) {
    // Without a PIT the kernel cannot calibrate the emulated TSC, and on a busy host it would
    // measure nonsense and later distrust the clock.
    line += " tsc_early_khz=" + std::to_string(tsc_khz) + " tsc=reliable";
    // Translated code is kept by its address: a program that starts at another address each time is
    // translated anew each time (docs/decisions/0004-emulated-guests-without-aslr.md). And an
    // emulated CPU has none of the faults that the mitigations are for.
    line += " norandmaps mitigations=off";
  }
  if (!extra.empty()) line += " " + extra;
  return line;
}

Result<void> validate(const MachineSize& size, const std::string& mac) {
  if (size.vcpus < 1 || size.vcpus > 64)
    return Error(ErrorCode::invalid_argument, "virtual CPUs must be 1 to 64");
  if (size.memory_mib < 32 || size.memory_mib > 256 * 1024)
    return Error(ErrorCode::invalid_argument, "memory must be 32 MiB to 256 GiB");
  bool shaped = mac.size() == 17;
  for (size_t i = 0; shaped && i < mac.size(); ++i)
    shaped = i % 3 == 2 ? mac[i] == ':' : std::isxdigit(static_cast<unsigned char>(mac[i])) != 0;
  if (!shaped) return Error(ErrorCode::invalid_argument, "not a MAC address: " + mac);
  return ok();
}

}  // namespace hako::engine
