#include <boost/json.hpp>

#include "doctor/checks.h"
#include "engine/kvm_verdict.h"

namespace hako::doctor {
namespace json = boost::json;
namespace {

constexpr const char* kHardware =
    "Boxes run behind hardware virtualisation: a program that wants out has to break through the "
    "processor's own wall, and then through the jail around the virtual machine's process.";
constexpr const char* kEmulated =
    "Boxes run in emulation, which is for development and for code you trust. QEMU's developers do "
    "not treat an escape from emulation as a security bug, so it may never be fixed: the jail "
    "around the process is then the only wall. Do not put strangers' code here, and do not let "
    "strangers reach this machine. Boxes are also several times slower.";
constexpr const char* kNone =
    "Boxes cannot run here: the configuration demands hardware virtualisation, and it does not "
    "work on this machine.";

}  // namespace

std::string_view to_string(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::warn:
      return "warn";
    case Status::fail:
      return "fail";
    case Status::skip:
      return "skip";
  }
  return "skip";
}

bool Report::failed() const {
  for (const Check& check : checks)
    if (check.status == Status::fail) return true;
  return false;
}

Report examine(const config::Config& config, const Sources& sources) {
  Report report;
  engine::KvmProbe kvm;
  if (config.accel == "tcg") {
    kvm.reason = "not asked for";
  } else {
    kvm = sources.probe_kvm();
    // A real guest that failed knows better than a few instructions that passed.
    auto verdict = engine::read_kvm_verdict(sources.root + config.run_dir + "/kvm-verdict.json");
    if (verdict && !verdict->works && engine::of_this_boot(*verdict)) {
      kvm.usable = false;
      kvm.reason = "a guest did not come up under it: " + verdict->reason;
    }
  }
  bool hardware = kvm.usable && config.accel != "tcg";
  report.isolation = hardware ? "hardware" : config.accel == "kvm" ? "none" : "emulated";
  report.isolation_text = hardware ? kHardware : config.accel == "kvm" ? kNone : kEmulated;
  report.checks = {
      check_user(sources),
      check_kvm(config, kvm),
      check_qemu(config, sources),
      check_image(config),
      check_tun(sources),
      check_cgroups(sources),
      check_kernel(sources),
      check_memory(config, sources),
      check_disk(config),
      check_programs(sources),
      check_api_certificate(config),
      check_gate_certificate(config),
      check_limits(config, sources),
      check_vulnerabilities(sources),
      check_smt(sources),
      check_ksm(sources),
      check_swap(sources),
      check_huge_pages(sources),
      check_nested(sources),
      check_userfaultfd(sources),
      check_mounts(sources),
      check_user_namespaces(sources),
  };
  return report;
}

std::string to_text(const Report& report) {
  std::string out = "isolation: " + report.isolation + "\n" + report.isolation_text + "\n\n";
  for (const Check& check : report.checks) {
    std::string status(to_string(check.status));
    status.resize(5, ' ');
    out += status + check.title + ": " + check.detail + "\n";
    bool matters = check.status == Status::fail || check.status == Status::warn;
    if (matters && !check.fix.empty())
      out += (check.status == Status::fail ? "FIX: " : "     better: ") + check.fix + "\n";
  }
  size_t failures = 0;
  for (const Check& check : report.checks) failures += check.status == Status::fail;
  out += failures == 0 ? "\nhako can run here.\n"
                       : "\nhako cannot run here yet: see the lines that begin with FIX.\n";
  return out;
}

std::string to_json(const Report& report) {
  json::array checks;
  for (const Check& check : report.checks) {
    json::object item;
    item["id"] = check.id;
    item["title"] = check.title;
    item["status"] = to_string(check.status);
    item["detail"] = check.detail;
    item["fix"] = check.fix;
    checks.emplace_back(std::move(item));
  }
  json::object object;
  object["ok"] = !report.failed();
  object["isolation"] = report.isolation;
  object["isolation_text"] = report.isolation_text;
  object["checks"] = std::move(checks);
  return json::serialize(object);
}

}  // namespace hako::doctor
