// The engine's pure parts: command lines, fingerprints, the host's description.
#include <gtest/gtest.h>

#include "engine/host_facts.h"
#include "engine/kvm_probe.h"
#include "engine/kvm_probe_guest.h"
#include "engine/qemu/command_line.h"
#include "support/run_value.h"

namespace hako::engine {
namespace {

std::string join(const std::vector<std::string>& argv) {
  std::string text;
  for (const auto& argument : argv) {
    bool option = !argument.empty() && argument[0] == '-';
    text += (text.empty() ? "" : option ? "\n" : " ") + argument;
  }
  return text;
}

QemuSpec spec() {
  QemuSpec spec;
  spec.binary = "/usr/bin/qemu-system-x86_64";
  spec.label = "m7-2";
  spec.size = {2, 512};
  spec.mac = "02:68:61:6b:6f:02";
  return spec;
}

constexpr char kEmulatedClone[] =
    "/usr/bin/qemu-system-x86_64\n"
    "-name m7-2,debug-threads=on\n"
    "-nodefaults\n"
    "-no-user-config\n"
    "-nographic\n"
    "-no-reboot\n"
    "-S\n"
    "-machine microvm,x-option-roms=off,pit=off,pic=off,isa-serial=off,graphics=off,"
    "dump-guest-core=off,mem-merge=off,memory-backend=m0,rtc=on\n"
    "-smp 2\n"
    "-m 512M\n"
    "-object memory-backend-file,id=m0,size=512M,mem-path=/proc/self/fd/3,share=off\n"
    "-global migration.send-configuration=off\n"
    "-global migration.announce-rounds=1\n"
    "-chardev socket,id=qmp,fd=4,server=on,wait=off\n"
    "-mon chardev=qmp,mode=control\n"
    "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n"
    "-accel tcg,thread=single,tb-size=64\n"
    "-cpu max\n"
    "-chardev ringbuf,id=console,size=65536\n"
    "-device virtio-serial-device,id=serial,max_ports=1\n"
    "-device virtconsole,chardev=console,bus=serial.0\n"
    "-add-fd fd=5,set=1,opaque=rootfs\n"
    "-blockdev driver=file,node-name=rootfs,filename=/dev/fdset/1,read-only=on,auto-read-only=off,"
    "locking=off,cache.direct=off,cache.no-flush=off\n"
    "-device virtio-blk-device,id=vda,drive=rootfs,num-queues=1,rerror=report,werror=report\n"
    "-add-fd fd=6,set=2,opaque=scratch\n"
    "-blockdev driver=file,node-name=scratch,filename=/dev/fdset/2,read-only=off,discard=unmap,"
    "locking=off,cache.direct=off,cache.no-flush=on\n"
    "-device virtio-blk-device,id=vdb,drive=scratch,num-queues=1,rerror=report,werror=report\n"
    "-netdev tap,id=net0,fd=7,vhost=off\n"
    "-device virtio-net-device,id=eth0,netdev=net0,mac=02:68:61:6b:6f:02\n"
    "-object rng-builtin,id=rng0\n"
    "-device virtio-rng-device,id=rng,rng=rng0\n"
    "-incoming defer";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(CommandLine, EmulatedClone) {
  EXPECT_EQ(join(qemu_command_line(spec())), kEmulatedClone);
}

TEST(CommandLine, BootDiffersOnlyInMemoryAndStart) {
  QemuSpec boots = spec();
  boots.kernel_cmdline = "quiet";
  std::string expected = replaced(kEmulatedClone, "share=off", "share=on");
  expected = replaced(expected, "-incoming defer",
                      "-kernel /proc/self/fd/8\n-initrd /proc/self/fd/9\n-append quiet");
  EXPECT_EQ(join(qemu_command_line(boots)), expected);
}

TEST(CommandLine, HardwareHasNoEmulatedClock) {
  QemuSpec hardware = spec();
  hardware.isolation = Isolation::hardware;
  std::string expected = replaced(kEmulatedClone, "rtc=on", "rtc=off");
  expected =
      replaced(expected, "-accel tcg,thread=single,tb-size=64\n-cpu max", "-accel kvm\n-cpu host");
  EXPECT_EQ(join(qemu_command_line(hardware)), expected);
}

TEST(CommandLine, ARateStandsBetweenTheDiskAndItsFile) {
  QemuSpec slowed = spec();
  slowed.disk_rate = {1 << 20, 100};
  std::string expected =
      replaced(kEmulatedClone, "driver=file,node-name=scratch,", "driver=file,node-name=scratch-file,");
  expected = replaced(
      expected, "-device virtio-blk-device,id=vdb",
      "-object {\"qom-type\":\"throttle-group\",\"id\":\"disk-rate\",\"limits\":"
      "{\"bps-total\":1048576,\"iops-total\":100}}\n"
      "-blockdev driver=throttle,node-name=scratch,throttle-group=disk-rate,file=scratch-file,"
      "read-only=off,discard=unmap\n"
      "-device virtio-blk-device,id=vdb");
  EXPECT_EQ(join(qemu_command_line(slowed)), expected);
  slowed.disk_rate = {0, 100};
  expected = replaced(expected, "\"bps-total\":1048576,", "");
  EXPECT_EQ(join(qemu_command_line(slowed)), expected);
}

TEST(CommandLine, NeverADeviceThatCouldWriteToSharedMemory) {
  for (const auto& argument : qemu_command_line(spec())) {
    EXPECT_EQ(argument.find("balloon"), std::string::npos);
    EXPECT_EQ(argument.find("virtio-mem"), std::string::npos);
  }
}

TEST(CommandLine, LabelCannotAddOptions) {
  QemuSpec odd = spec();
  odd.label = "a,b=c d\n" + std::string(200, 'x');
  std::string name = qemu_command_line(odd)[2];
  EXPECT_EQ(name, "a_b_c_d_" + std::string(56, 'x') + ",debug-threads=on");
}

TEST(CommandLine, KernelArguments) {
  EXPECT_EQ(kernel_command_line(Isolation::emulated, 2'250'000, "hako.x=1"),
            "reboot=t panic=-1 quiet console=hvc0 tsc_early_khz=2250000 tsc=reliable "
            "norandmaps mitigations=off hako.x=1");
  EXPECT_EQ(kernel_command_line(Isolation::hardware, 2'250'000, ""),
            "reboot=t panic=-1 quiet console=hvc0");
}

TEST(CommandLine, ValidatesWhatItIsGiven) {
  const std::string mac = "02:00:00:00:00:0f";
  EXPECT_TRUE(validate({1, 256}, mac));
  for (MachineSize size : {MachineSize{0, 256}, {65, 256}, {1, 0}, {1, -1}, {1, 1 << 20}})
    EXPECT_FALSE(validate(size, mac));
  for (const char* wrong :
       {"", "02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:0f,x=y", "02-00-00-00-00-0f"})
    EXPECT_FALSE(validate({1, 256}, wrong)) << wrong;
}

Fingerprint fingerprint() {
  return {"qemu", "7.2", Isolation::emulated, "cpu", 2'250'000};
}

TEST(Fingerprint, AllMustFit) {
  EXPECT_TRUE(fingerprint().compatible_with(fingerprint()));
  auto changed = [](auto change) {
    Fingerprint other = fingerprint();
    change(other);
    return fingerprint().compatible_with(other) || other.compatible_with(fingerprint());
  };
  EXPECT_FALSE(changed([](Fingerprint& f) { f.engine = "firecracker"; }));
  EXPECT_FALSE(changed([](Fingerprint& f) { f.vmm_build = "7.3"; }));
  EXPECT_FALSE(changed([](Fingerprint& f) { f.isolation = Isolation::hardware; }));
  EXPECT_FALSE(changed([](Fingerprint& f) { f.cpu = "other"; }));
  EXPECT_FALSE(changed([](Fingerprint& f) { f.tsc_khz = 0; }));
  EXPECT_FALSE(changed([](Fingerprint& f) { f.tsc_khz = INT64_MAX; }));
  EXPECT_FALSE(changed([](Fingerprint& f) { f.tsc_khz += 1130; }));
  EXPECT_TRUE(changed([](Fingerprint& f) { f.tsc_khz += 1120; }));
  EXPECT_TRUE(changed([](Fingerprint& f) { f.tsc_khz -= 1120; }));
}

TEST(HostFacts, ReadsTheFirstProcessor) {
  EXPECT_EQ(host_cpu_from("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\n"
                          "model name\t: AMD EPYC\nstepping\t: 2\nmicrocode\t: 0x1\n\n"
                          "processor\t: 1\nmodel name\t: other\n"),
            "AMD EPYC, family 25, model 1, stepping 2, microcode 0x1");
  EXPECT_EQ(host_cpu_from(""), "?, family ?, model ?, stepping ?, microcode ?");
}

TEST(HostFacts, ClockRateIsSteady) {
  int64_t first = test::run_value(measure_tsc_khz());
  int64_t second = test::run_value(measure_tsc_khz());
  EXPECT_GT(first, 100'000);
  Fingerprint one = fingerprint(), two = fingerprint();
  one.tsc_khz = first;
  two.tsc_khz = second;
  EXPECT_TRUE(one.compatible_with(two)) << first << " and " << second;
}

TEST(KvmProbe, SaysWhyNot) {
  EXPECT_FALSE(probe_kvm("/nonexistent").usable);
  EXPECT_NE(probe_kvm("/nonexistent").reason.find("No such file"), std::string::npos);
  EXPECT_FALSE(probe_kvm("/dev/null").usable);
  EXPECT_EQ(probe_kvm("/dev/null").reason, "it is not a KVM device");
  EXPECT_EQ(probe_kvm("/dev/null", std::chrono::milliseconds(500), ProbeDepth::creation).usable,
            false);
}

TEST(KvmProbe, SumFollowsWhatIsUsed) {
  ProbeFeatures all{true, true, true, true};
  EXPECT_EQ(expected_probe_sum(all) - expected_probe_sum({}), 0x100u + 8 + 0x200 + 0x400);
}

TEST(KvmProbe, ParavirtualKvmIsNotEnough) {
  if (::access("/sys/module/kvm_pvm", F_OK) < 0 || ::access("/dev/kvm", R_OK | W_OK) < 0)
    GTEST_SKIP() << "no such KVM here";
  KvmProbe probe = probe_kvm();
  EXPECT_FALSE(probe.usable) << probe.reason;
  EXPECT_FALSE(probe.reason.empty());
}

}  // namespace
}  // namespace hako::engine
