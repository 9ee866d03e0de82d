#include "api/scope.h"

#include "api/walls.h"

namespace hako::api {

policy::BoxFacts facts_of(const store::SandboxRecord& record) {
  return {record.tenant, record.agent, record.id, label_of(record.label)};
}

policy::TemplateFacts facts_of(const store::TemplateRecord& record) {
  return {record.tenant, record.agent, record.id, record.name, label_of(record.label),
          record.is_public};
}

bool may_see(const Principal& who, const store::SandboxRecord& record, int64_t now_ms) {
  if (!stands(Wall::scope_of_one)) return true;
  return policy::may_see(who.permission, facts_of(record), now_ms).allowed;
}

void narrow(store::SandboxQuery& query, const Principal& who) {
  if (!stands(Wall::scope_of_lists)) return;
  policy::Effective left = policy::effective(who.permission);
  query.tenant = who.tenant;
  query.agent = left.agent;
  query.labels = visible_labels(who);
  if (left.sandboxes) query.ids.emplace(left.sandboxes->begin(), left.sandboxes->end());
  // What contradicts itself leaves nothing.
  if (!left.contradiction.empty()) query.ids.emplace();
}

std::vector<std::string> visible_labels(const Principal& who) {
  std::vector<std::string> visible;
  for (policy::Label label : policy::kLabels) {
    if (label <= who.clearance) visible.emplace_back(to_string(label));
  }
  return visible;
}

policy::Decision may_live(const Principal& who, int64_t ttl_s) {
  for (const policy::PermissionLayer& layer : who.permission) {
    if (!layer.leaves.ttl_s || ttl_s <= *layer.leaves.ttl_s) continue;
    std::string most = std::to_string(*layer.leaves.ttl_s);
    return policy::Decision::deny(layer.name + ".ttl",
                                  "a box of this caller lives at most " + most + " s from now",
                                  "ask for at most " + most + " s");
  }
  return policy::Decision::allow("permission", "no layer says less");
}

}  // namespace hako::api
