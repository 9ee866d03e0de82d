#include "api/scope.h"

#include <algorithm>

#include "api/walls.h"

namespace hako::api {
namespace {

/// As make_principal() calls it.
constexpr std::string_view kPlatformLayer = "platform";

/// The end of so long a life, in Unix milliseconds.
int64_t end_of_life(const store::SandboxRecord& record, int64_t ttl_s) {
  bool is_endless = ttl_s > (INT64_MAX - record.started_ms) / 1000;
  return is_endless ? INT64_MAX : record.started_ms + ttl_s * 1000;
}

}  // namespace

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
                                  "a box of this caller lives at most " + most + " s",
                                  "ask for at most " + most + " s");
  }
  return policy::Decision::allow("permission", "no layer says less");
}

policy::Decision may_end_at(const Principal& who, const store::SandboxRecord& record,
                            int64_t ends_ms) {
  for (const policy::PermissionLayer& layer : who.permission) {
    if (!layer.leaves.ttl_s || layer.name == kPlatformLayer) continue;
    if (ends_ms <= end_of_life(record, *layer.leaves.ttl_s)) continue;
    return policy::Decision::deny(layer.name + ".ttl",
                                  "a box of this caller lives at most " +
                                      std::to_string(*layer.leaves.ttl_s) +
                                      " s from when it was made",
                                  "make a new box");
  }
  return policy::Decision::allow("permission", "no layer says less");
}

int64_t latest_end_ms(const Principal& who, const store::SandboxRecord& record) {
  int64_t latest = INT64_MAX;
  for (const policy::PermissionLayer& layer : who.permission) {
    if (!layer.leaves.ttl_s || layer.name == kPlatformLayer) continue;
    latest = std::min(latest, end_of_life(record, *layer.leaves.ttl_s));
  }
  return latest;
}

}  // namespace hako::api
