#include "api/admission.h"

#include "api/egress_policy.h"

namespace hako::api {
using policy::Decision;
using policy::PermissionLayer;

namespace {

/// What counts under a budget now. Nothing that was ever made counts under one that is not there.
int64_t boxes_under(const std::string& budget, const store::SandboxRecord& record,
                    const store::Store::InUse& in_use) {
  for (size_t i = 0; i < record.budgets.size() && i < in_use.budgets.size(); ++i) {
    if (record.budgets[i] == budget) return in_use.budgets[i].boxes;
  }
  return 0;
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

Result<void> admit(const policy::Permission& permission, const store::SandboxRecord& record,
                   const store::Store::InUse& in_use) {
  for (const PermissionLayer& layer : permission) {
    if (!layer.leaves.boxes) continue;
    Decision decision = may_add(layer, boxes_under(layer.budget, record, in_use));
    if (!decision.allowed) return Error(ErrorCode::resource_exhausted, with_rule(decision));
  }
  return ok();
}

}  // namespace hako::api
