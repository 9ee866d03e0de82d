#include "api/admission.h"

#include "api/egress_policy.h"
#include "api/principal.h"

namespace hako::api {
using policy::Decision;
using policy::PermissionLayer;

namespace {

/// What counts under a budget now. For a tenant's that is all it has, also what was made before it had
/// one. Nothing that was ever made counts under one that is not there.
int64_t boxes_under(const std::string& budget, const store::SandboxRecord& record,
                    const store::Store::InUse& in_use) {
  if (budget == budget_of_tenant(record.tenant)) return in_use.tenant.boxes;
  for (size_t i = 0; i < record.budgets.size() && i < in_use.budgets.size(); ++i) {
    if (record.budgets[i] == budget) return in_use.budgets[i].boxes;
  }
  return 0;
}

/// Nobody knows when another sandbox ends; asking sooner would be of little use.
constexpr std::chrono::seconds kRetry{10};

Error no_room(const Decision& decision) {
  return Error(ErrorCode::resource_exhausted, with_rule(decision)).with_retry_after(kRetry);
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
                   const store::SandboxRecord& record, const store::Store::InUse& in_use) {
  for (const PermissionLayer& layer : permission) {
    if (!layer.leaves.boxes) continue;
    Decision decision = may_add(layer, boxes_under(layer.budget, record, in_use));
    if (!decision.allowed) return no_room(decision);
  }
  const store::Usage& now = in_use.tenant;
  policy::Amounts in_all{now.boxes, now.vcpus, now.memory_mib, now.disk_mib};
  policy::Amounts one{1, record.vcpus, record.memory_mib, record.disk_mib};
  Decision decision = policy::within(quota, in_all, one);
  if (!decision.allowed) return no_room(decision);
  return ok();
}

}  // namespace hako::api
