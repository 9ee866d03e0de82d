#include "api/admission.h"

#include "api/egress_policy.h"
#include "api/principal.h"

namespace hako::api {
using policy::Decision;
using policy::PermissionLayer;

namespace {

/// What counts under a budget now, paused ones included: they can come back at any time. For a tenant's that is all it has, also what was made before it had
/// one. Nothing that was ever made counts under one that is not there.
int64_t boxes_under(const std::string& budget, const store::SandboxRecord& record,
                    const store::Store::InUse& in_use) {
  if (budget == budget_of_tenant(record.tenant)) {
    return in_use.tenant.boxes + in_use.tenant.paused;
  }
  for (size_t i = 0; i < record.budgets.size() && i < in_use.budgets.size(); ++i) {
    const store::Usage& used = in_use.budgets[i];
    if (record.budgets[i] == budget) return used.boxes + used.paused;
  }
  return 0;
}

/// Nobody knows when another sandbox ends; asking sooner would be of little use.
constexpr std::chrono::seconds kRetry{10};

Error no_room(const Decision& decision) {
  return Error(ErrorCode::resource_exhausted, with_rule(decision)).with_retry_after(kRetry);
}

policy::Amounts in_all(const store::Usage& now, const policy::Amounts& building) {
  return {now.boxes + building.boxes, now.vcpus + building.vcpus,
          now.memory_mib + building.memory_mib, now.disk_mib + building.disk_mib};
}

Decision may_add(const PermissionLayer& layer, int64_t now) {
  std::string rule = layer.name + ".boxes";
  int64_t most = *layer.leaves.boxes;
  if (now < most) return Decision::allow(rule, "there is room for one more");
  return Decision::deny(rule, layer.name + " allows " + std::to_string(most) +
                                  " sandboxes at once, and there are " + std::to_string(now),
                        "end one of them first");
}

}  // namespace

Result<void> admit(const policy::Permission& permission, const policy::Quota& quota,
                   const store::SandboxRecord& record, const store::Store::InUse& in_use,
                   const policy::Amounts& building) {
  for (const PermissionLayer& layer : permission) {
    if (!layer.leaves.boxes) continue;
    Decision decision = may_add(layer, boxes_under(layer.budget, record, in_use));
    if (!decision.allowed) return no_room(decision);
  }
  policy::Amounts one{1, record.vcpus, record.memory_mib, record.disk_mib};
  Decision decision = policy::within(quota, in_all(in_use.tenant, building), one);
  if (!decision.allowed) return no_room(decision);
  return ok();
}

Result<void> admit_again(const policy::Quota& quota, const store::SandboxRecord& record,
                         const store::Usage& in_use, const policy::Amounts& building) {
  // Its disk counts all the time.
  policy::Amounts one{1, record.vcpus, record.memory_mib, 0};
  policy::Quota of_what_runs = quota;
  of_what_runs.disk_mib.reset();
  Decision decision = policy::within(of_what_runs, in_all(in_use, building), one);
  if (!decision.allowed) return no_room(decision);
  return ok();
}

Result<void> admit_snapshot(const policy::Quota& quota, const store::Usage& in_use,
                            int64_t disk_mib) {
  policy::Quota of_disk;
  of_disk.disk_mib = quota.disk_mib;
  Decision decision = policy::within(of_disk, in_all(in_use, {}), {0, 0, 0, disk_mib});
  if (!decision.allowed) return no_room(decision);
  return ok();
}

Result<void> admit_size(const policy::Permission& permission, int64_t memory_mib, int64_t vcpus) {
  for (const PermissionLayer& layer : permission) {
    const policy::Narrowing& leaves = layer.leaves;
    bool memory = leaves.memory_mib && memory_mib > *leaves.memory_mib;
    bool cpus = leaves.vcpus && vcpus > *leaves.vcpus;
    if (!memory && !cpus) continue;
    std::string most = memory ? std::to_string(*leaves.memory_mib) + " MiB of memory"
                              : std::to_string(*leaves.vcpus) + " virtual CPUs";
    return refused_by(Decision::deny(layer.name + (memory ? ".memory" : ".vcpus"),
                                     layer.name + " allows a box at most " + most,
                                     "build the template with less"));
  }
  return ok();
}

Result<void> admit_build(const policy::Quota& quota, const policy::Amounts& in_use,
                         const policy::Amounts& build) {
  Decision decision = policy::within(quota, in_use, build);
  if (!decision.allowed) return no_room(decision);
  return ok();
}

}  // namespace hako::api
