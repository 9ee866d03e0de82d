// The checks against made-up machines.
#include "doctor/checks.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/json.hpp>

#include <fstream>
#include <set>

#include "base/fd.h"
#include "support/certificates.h"

namespace hako::doctor {
namespace {

namespace fs = std::filesystem;

class Machine : public ::testing::Test {
 protected:
  Machine() {
    char pattern[] = "/tmp/hako-doctor-test-XXXXXX";
    root_ = ::mkdtemp(pattern);
    sources_.root = root_;
    sources_.probe_kvm = [] { return engine::KvmProbe{.usable = true, .reason = ""}; };
    sources_.version_of = [](const std::string&) -> Result<std::string> {
      return std::string("QEMU emulator version 7.2.22 (Debian)");
    };
    sources_.owner = ::geteuid();
    config_.state_dir = root_ + "/state";
    config_.image_dir = root_ + "/images";
    config_.min_free_disk_mib = 1;

    put("/proc/sys/kernel/osrelease", "6.1.0-20-amd64\n");
    put("/proc/cmdline", "quiet loglevel=1\n");
    put("/proc/swaps", "Filename Type Size Used Priority\n");
    put("/proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n");
    put("/proc/self/mounts", "a / ext4 rw 0 0\n");
    put("/proc/sys/vm/unprivileged_userfaultfd", "0\n");
    put("/proc/sys/kernel/yama/ptrace_scope", "2\n");
    put("/proc/sys/kernel/pid_max", "4194304\n");
    put("/proc/sys/user/max_user_namespaces", "96000\n");
    put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
    put("/proc/self/mountinfo",
        "26 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,favordynmods\n");
    put("/sys/devices/system/cpu/smt/active", "0\n");
    put("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n");
    put("/sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: IBRS\n");
    put("/sys/kernel/mm/ksm/run", "0\n");
    put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put("/sys/module/kvm_amd/parameters/nested", "0\n");
    put("/dev/net/tun", "");
    put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never\n");
    put("/proc/cpuinfo",
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmicrocode\t: 0xd0003b9\nflags\t\t: fpu sse\n"
        "processor\t: 1\nvendor_id\t: GenuineIntel\nmicrocode\t: 0xd0003b9\nflags\t\t: fpu sse\n");
    put("/sys/devices/system/cpu/vulnerabilities/itlb_multihit",
        "KVM: Mitigation: Split huge pages\n");
    put("/sys/module/kvm/parameters/nx_huge_pages", "Y\n");
    put("/sys/module/kvm/parameters/min_timer_period_us", "200\n");
    put("/proc/sys/kernel/printk", "4\t4\t1\t7\n");
    put("/sys/devices/system/edac/mc/mc0/ue_count", "0\n");
    put("/proc/sys/kernel/core_pattern", "core\n");
    put("/proc/sys/kernel/seccomp/actions_avail",
        "kill_process kill_thread trap errno log allow\n");
    put("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n");
    put("/etc/subuid", "alice:100000:65536\n");
    sources_.slot_walls = [](const std::string&) -> Result<SlotWalls> { return SlotWalls{3, {}}; };
    config_.run_dir = root_ + "/run";
    config_.qemu = "/usr/bin/true";
    config_.skopeo = "/usr/bin/true";
    for (const char* name : {"hako", "hakod", "hako-gate"}) put(std::string("/bin/") + name, "x");
    sources_.program_directory = root_ + "/bin";
  }
  ~Machine() override {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  void put(const std::string& path, std::string_view text) {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void remove(const std::string& path) { fs::remove_all(root_ + path); }

  std::string root_;
  Sources sources_;
  config::Config config_;
};

TEST_F(Machine, AGoodOneIsWell) {
  for (const Check& check :
       {check_user(sources_), check_tun(sources_), check_cgroups(sources_), check_kernel(sources_),
        check_smt(sources_), check_vulnerabilities(sources_), check_ksm(sources_),
        check_swap(sources_), check_huge_pages(sources_), check_nested(sources_),
        check_userfaultfd(sources_), check_process_memory(sources_), check_mounts(sources_),
        check_programs(sources_),
        check_user_namespaces(sources_), check_microcode(sources_), check_nx_huge_pages(sources_),
        check_kvm_timer(sources_), check_console(sources_), check_memory_errors(sources_),
        check_core_dumps(sources_), check_cgroup_moves(sources_, true), check_seccomp(sources_),
        check_uids(config_, sources_), check_egress_walls(config_, sources_),
        check_skopeo(config_, sources_), check_limits(config_, sources_),
        check_qemu(config_, sources_), check_memory(config_, sources_),
        check_kvm(config_, {.usable = true})}) {
    EXPECT_EQ(check.status, Status::ok) << check.id << ": " << check.detail;
    EXPECT_EQ(check.fix, "") << check.id;
  }
}

TEST_F(Machine, EachWeaknessIsSeen) {
  auto expect = [](const Check& check, Status status, std::string_view words) {
    EXPECT_EQ(check.status, status) << check.id << ": " << check.detail;
    EXPECT_NE(check.detail.find(words), std::string::npos) << check.id << ": " << check.detail;
    EXPECT_NE(check.fix, "") << check.id;
  };
  put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
  expect(check_swap(sources_), Status::warn, "1 in use");
  put("/sys/kernel/mm/ksm/run", "1\n");
  expect(check_ksm(sources_), Status::warn, "on");
  put("/sys/devices/system/cpu/smt/active", "1\n");
  expect(check_smt(sources_), Status::warn, "on");
  put("/sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable: no microcode\n");
  expect(check_vulnerabilities(sources_), Status::warn, "mds");
  put("/proc/cmdline", "quiet mitigations=off\n");
  expect(check_vulnerabilities(sources_), Status::warn, "mitigations=off");
  put("/proc/sys/kernel/osrelease", "5.4.0\n");
  expect(check_kernel(sources_), Status::fail, "5.4.0");
  put("/sys/fs/cgroup/cgroup.controllers", "cpu io\n");
  expect(check_cgroups(sources_), Status::warn, "memory, pids");
  remove("/sys/fs/cgroup/cgroup.controllers");
  expect(check_cgroups(sources_), Status::warn, "without the controllers cpu, memory, pids");
  put("/proc/self/mountinfo", "27 25 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
  put("/sys/fs/cgroup/cpu/cpu.shares", "1024\n");
  expect(check_cgroups(sources_), Status::warn, "without the controllers memory, pids");
  put("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
  expect(check_huge_pages(sources_), Status::warn, "always");
  put("/sys/module/kvm_amd/parameters/nested", "1\n");
  expect(check_nested(sources_), Status::warn, "kvm_amd");
  put("/proc/sys/kernel/yama/ptrace_scope", "3\n");
  expect(check_process_memory(sources_), Status::warn, "even to root");
  put("/proc/sys/vm/unprivileged_userfaultfd", "1\n");
  expect(check_userfaultfd(sources_), Status::warn, "everyone");
  put("/proc/sys/kernel/unprivileged_userns_clone", "0\n");
  expect(check_user_namespaces(sources_), Status::warn, "only root");
  put("/proc/sys/user/max_user_namespaces", "0\n");
  expect(check_user_namespaces(sources_), Status::warn, "one wall less");
  std::string mounts;
  for (int i = 0; i < 600; ++i) mounts += "a /x ext4 rw 0 0\n";
  put("/proc/self/mounts", mounts);
  expect(check_mounts(sources_), Status::warn, "600");
  put("/proc/meminfo", "MemAvailable: 100000 kB\n");
  expect(check_memory(config_, sources_), Status::fail, "97 MiB");
  remove("/dev/net/tun");
  expect(check_tun(sources_), Status::fail, "No such file");
  ::chmod((root_ + "/bin/hakod").c_str(), 0777);
  expect(check_programs(sources_), Status::warn, "hakod");
  remove("/bin/hako-gate");
  ::chmod((root_ + "/bin/hakod").c_str(), 0755);
  expect(check_programs(sources_), Status::fail, "hako-gate");
  sources_.user = 1000;
  expect(check_user(sources_), Status::warn, "not root");
  config_.min_free_disk_mib = int64_t{1} << 40;
  expect(check_disk(config_), Status::fail, "MiB free");
  expect(check_image(config_), Status::fail, "");
}

TEST_F(Machine, EachExposureIsSeen) {
  auto expect = [](const Check& check, Status status, std::string_view words) {
    EXPECT_EQ(check.status, status) << check.id << ": " << check.detail;
    EXPECT_NE(check.detail.find(words), std::string::npos) << check.id << ": " << check.detail;
    EXPECT_EQ(check.fix.empty(), status == Status::skip) << check.id;
  };
  std::string cpu = "vendor_id : AuthenticAMD\nmicrocode : ";
  put("/proc/cpuinfo", cpu + "0x1\n" + cpu + "0x2\n");
  expect(check_microcode(sources_), Status::warn, "half-way");
  EXPECT_NE(check_microcode(sources_).fix.find("amd64-microcode"), std::string::npos);
  put("/proc/cpuinfo", cpu + "0x0\n");
  expect(check_microcode(sources_), Status::warn, "none");
  put("/proc/cpuinfo", cpu + "0x0\nflags : fpu hypervisor sse\n");
  expect(check_microcode(sources_), Status::skip, "virtual machine");
  put("/sys/module/kvm/parameters/nx_huge_pages", "N\n");
  expect(check_nx_huge_pages(sources_), Status::warn, "machine check");
  put("/sys/devices/system/cpu/vulnerabilities/itlb_multihit", "Not affected\n");
  EXPECT_EQ(check_nx_huge_pages(sources_).status, Status::ok);
  put("/sys/module/kvm/parameters/min_timer_period_us", "0\n");
  expect(check_kvm_timer(sources_), Status::warn, "0 microseconds");
  put("/proc/sys/kernel/printk", "7\t4\t1\t7\n");
  expect(check_console(sources_), Status::warn, "level 6");
  put("/sys/devices/system/edac/mc/mc1/ue_count", "2\n");
  expect(check_memory_errors(sources_), Status::warn, "2 errors");
  remove("/sys/devices/system/edac");
  expect(check_memory_errors(sources_), Status::skip, "Rowhammer");
  put("/proc/sys/kernel/core_pattern", "|/usr/share/apport/apport -p%p\n");
  expect(check_core_dumps(sources_), Status::warn, "/usr/share/apport/apport, which");
  put("/proc/self/mountinfo", "26 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  expect(check_cgroup_moves(sources_, true), Status::warn, "slower");
  EXPECT_EQ(check_cgroup_moves(sources_, true).fix, "mount -o remount,favordynmods /sys/fs/cgroup");
  expect(check_cgroup_moves(sources_, false), Status::skip, "KVM");
  put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "[always] advise never\n");
  expect(check_huge_pages(sources_), Status::warn, "shared");
  put("/proc/sys/kernel/threads-max", "1000\n");
  expect(check_limits(config_, sources_), Status::warn, "1000 threads");
}

TEST_F(Machine, EachWeakWallIsSeen) {
  auto expect = [](const Check& check, Status status, std::string_view words) {
    EXPECT_EQ(check.status, status) << check.id << ": " << check.detail;
    EXPECT_NE(check.detail.find(words), std::string::npos) << check.id << ": " << check.detail;
    EXPECT_NE(check.fix, "") << check.id;
  };
  put("/proc/sys/kernel/seccomp/actions_avail", "kill_thread trap errno\n");
  expect(check_seccomp(sources_), Status::fail, "kill_process");
  remove("/proc/sys/kernel/seccomp");
  expect(check_seccomp(sources_), Status::fail, "not in this kernel");
  // The last of alice's range is the first of ours.
  put("/etc/subuid", "alice:" + std::to_string(config_.vmm_uid_base - 99) + ":100\n");
  expect(check_uids(config_, sources_), Status::warn, "alice");
  put("/etc/subuid", "alice:" + std::to_string(config_.vmm_uid_base - 100) + ":100\nrubbish\n");
  EXPECT_EQ(check_uids(config_, sources_).status, Status::ok);
  put("/etc/passwd", "eve:x:" + std::to_string(config_.gate_uid) + ":1::/:/bin/sh\n");
  expect(check_uids(config_, sources_), Status::warn, "eve");
  sources_.slot_walls = [](const std::string&) -> Result<SlotWalls> {
    return SlotWalls{3, {"slot-1 passes packets on"}};
  };
  expect(check_egress_walls(config_, sources_), Status::fail, "slot-1 passes packets on");
  sources_.user = 1000;
  EXPECT_EQ(check_egress_walls(config_, sources_).status, Status::skip);
  config_.registries = {"registry.test"};
  sources_.version_of = [](const std::string&) -> Result<std::string> {
    return Error(ErrorCode::not_found, "no such file");
  };
  expect(check_skopeo(config_, sources_), Status::warn, "no such file");
}

TEST_F(Machine, FoldersThatOthersCanChangeAreSeen) {
  // Everything above them is root's, or may be changed by everybody, but is sticky.
  fs::create_directories(config_.state_dir + "/node");
  Check closed = check_paths(config_, sources_);
  EXPECT_EQ(closed.status, Status::ok) << closed.detail;
  ::chmod(config_.state_dir.c_str(), 0777);
  Check open = check_paths(config_, sources_);
  EXPECT_EQ(open.status, Status::warn);
  EXPECT_NE(open.detail.find(config_.state_dir), std::string::npos) << open.detail;
  EXPECT_NE(open.fix, "");
  ::chmod(config_.state_dir.c_str(), 01777);
  EXPECT_EQ(check_paths(config_, sources_).status, Status::ok);
  // A folder above it counts as much.
  ::chmod(root_.c_str(), 0772);
  EXPECT_EQ(check_paths(config_, sources_).status, Status::warn);
}

TEST_F(Machine, EachCheckSaysWhereItLooksAndIsInTheDocs) {
  auto page = read_file(HAKO_DOCS "/doctor.md");
  ASSERT_TRUE(page) << page.error().message();
  Report report = examine(config_, sources_);
  EXPECT_GE(report.checks.size(), 30u);
  std::set<std::string> ids;
  for (const Check& check : report.checks) {
    EXPECT_TRUE(ids.insert(check.id).second) << check.id << " is there twice";
    EXPECT_NE(check.reads, "") << check.id;
    EXPECT_NE(check.wants, "") << check.id;
    EXPECT_NE(page.value().find("| `" + check.id + "` |"), std::string::npos) << check.id;
  }
}

TEST_F(Machine, QemuIsThereAndRecent) {
  sources_.version_of = [](const std::string&) -> Result<std::string> {
    return Error(ErrorCode::not_found, "no such file");
  };
  EXPECT_EQ(check_qemu(config_, sources_).status, Status::fail);
  sources_.version_of = [](const std::string&) -> Result<std::string> {
    return std::string("QEMU emulator version 6.2.0");
  };
  EXPECT_EQ(check_qemu(config_, sources_).status, Status::fail);
  sources_.version_of = [](const std::string&) -> Result<std::string> {
    return std::string("QEMU emulator version 10.0.1");
  };
  EXPECT_EQ(check_qemu(config_, sources_).status, Status::ok);
  sources_.version_of = [](const std::string&) -> Result<std::string> {
    return std::string("something else");
  };
  EXPECT_EQ(check_qemu(config_, sources_).status, Status::warn);
}

TEST_F(Machine, CertificatesAreReadableFitTheirKeyAndAreInDate) {
  EXPECT_EQ(check_api_certificate(config_).status, Status::ok) << "none is needed on loopback";
  config_.gate_address = "0.0.0.0";
  Check plain = check_gate_certificate(config_);
  EXPECT_EQ(plain.status, Status::fail);
  EXPECT_NE(plain.fix.find("[gate] certificate and key"), std::string::npos);
  config_.allow_plain_gate_beyond_loopback = true;
  EXPECT_EQ(check_gate_certificate(config_).status, Status::warn);

  test::Certificates made(root_);
  made.issue("good", "DNS:a.test,IP:192.0.2.1");
  made.issue("soon", "DNS:a.test", 13);
  made.issue("past", "DNS:a.test", -1);
  auto check = [&](const std::string& certificate, const std::string& key) {
    config_.api_certificate = made.certificate(certificate);
    config_.api_certificate_key = made.key_file(key);
    return check_api_certificate(config_);
  };
  auto expect = [](const Check& found, Status status, std::string_view words) {
    EXPECT_EQ(found.status, status) << found.detail;
    EXPECT_NE(found.detail.find(words), std::string::npos) << found.detail;
    EXPECT_EQ(found.fix.empty(), status == Status::ok) << found.fix;
  };
  expect(check("good", "good"), Status::ok, "for a.test, 192.0.2.1, until 20");
  expect(check("soon", "soon"), Status::warn, "it expires on 20");
  expect(check("past", "past"), Status::fail, "it has expired on 20");
  EXPECT_EQ(check_api_certificate(config_, Dates::ignored).status, Status::ok);
  expect(check("good", "soon"), Status::fail, "not that of the certificate");
  expect(check("none", "good"), Status::fail, "none.pem");
  put("/none.pem", "no certificate");
  expect(check("none", "good"), Status::fail, "no PEM certificate");
  put("/none.key", "no key");
  expect(check("good", "none"), Status::fail, "no PEM private key");
}

TEST_F(Machine, IsolationIsSaidPlainly) {
  Report hardware = examine(config_, sources_);
  EXPECT_EQ(hardware.isolation, "hardware");

  sources_.probe_kvm = [] { return engine::KvmProbe{.reason = "exit 17 at lock cmpxchg16b"}; };
  Report emulated = examine(config_, sources_);
  EXPECT_EQ(emulated.isolation, "emulated");
  std::string text = to_text(emulated);
  EXPECT_NE(text.find("code you trust"), std::string::npos);
  EXPECT_NE(text.find("not treat an escape from emulation as a security bug"), std::string::npos);
  EXPECT_NE(text.find("exit 17 at lock cmpxchg16b"), std::string::npos);

  config_.accel = "kvm";
  Report none = examine(config_, sources_);
  EXPECT_EQ(none.isolation, "none");
  EXPECT_TRUE(none.failed());

  config_.accel = "tcg";
  sources_.probe_kvm = [] { return engine::KvmProbe{.usable = true}; };
  EXPECT_EQ(examine(config_, sources_).isolation, "emulated");
}

TEST(Rendering, FailuresHaveALineThatBeginsWithFix) {
  Report report;
  report.isolation = "hardware";
  report.isolation_text = "Told plainly.";
  report.checks = {{"a", "First", Status::ok, "good", ""},
                   {"b", "Second", Status::warn, "so so", "do this", "/here", "0"},
                   {"c", "Third", Status::fail, "bad", "do that"},
                   {"d", "Fourth", Status::skip, "unknown", ""}};
  EXPECT_EQ(to_text(report),
            "isolation: hardware\n"
            "Told plainly.\n\n"
            "ok   First: good\n"
            "warn Second: so so\n"
            "     looked at: /here; wanted: 0\n"
            "FIX: do this\n"
            "fail Third: bad\n"
            "FIX: do that\n"
            "skip Fourth: unknown\n"
            "\nhako cannot run here yet: 1 checks say fail, with what to do in the line FIX "
            "below.\n");
  EXPECT_TRUE(report.failed());
  EXPECT_EQ(exit_status(report), 1);
  report.checks.erase(report.checks.begin() + 2);
  EXPECT_EQ(exit_status(report), 3);
  EXPECT_NE(to_text(report).find("hako can run here; 1 checks say warn"), std::string::npos);
  report.checks.erase(report.checks.begin() + 1);
  EXPECT_EQ(exit_status(report), 0);
  EXPECT_TRUE(to_text(report).ends_with("\nhako can run here.\n"));
}

TEST(Rendering, AsJson) {
  Report report;
  report.checks = {{"a", "First", Status::ok, "good", ""},
                   {"b", "Second", Status::warn, "so so", "do this", "/here", "0"},
                   {"c", "Third", Status::fail, "bad", "do that"}};
  auto value = boost::json::parse(to_json(report));
  EXPECT_FALSE(value.at("ok").as_bool());
  EXPECT_EQ(value.at("checks").at(2).at("status"), "fail");
  EXPECT_EQ(value.at("checks").at(2).at("fix"), "do that");
  EXPECT_EQ(value.at("checks").at(1).at("reads"), "/here");
  EXPECT_EQ(value.at("checks").at(1).at("wants"), "0");
  EXPECT_EQ(value.at("failures").as_int64(), 1);
  EXPECT_EQ(value.at("warnings").as_int64(), 1);
}

}  // namespace
}  // namespace hako::doctor
