#include "api/egress_policy.h"

#include <algorithm>

#include "policy/egress_json.h"

namespace hako::api {
namespace json = boost::json;
using policy::EgressLevel;
using policy::EgressPlan;
using policy::EgressPlatform;
using policy::EgressPolicy;

namespace {

json::string_view word(std::string_view text) {
  return {text.data(), text.size()};
}

json::array texts_of(const std::vector<policy::Target>& targets) {
  json::array texts;
  for (const policy::Target& target : targets) texts.emplace_back(policy::to_string(target));
  return texts;
}

}  // namespace

Result<EgressPlan> plan_sandbox(const EgressPlatform& platform, policy::Label label,
                                const SandboxOptions& options, const EgressCeilings& of_tenant) {
  HAKO_TRY(auto request, egress_request(options));
  EgressCeilings ceilings = both(of_tenant, both(options.made_under, options.changed_under));
  return policy::plan_egress(platform, label, request, ceilings);
}

EgressPolicy capped_policy(const EgressPlatform& platform, policy::Label label,
                           const SandboxOptions& options, const EgressCeilings& of_tenant) {
  auto plan = plan_sandbox(platform, label, options, of_tenant);
  // Of one that is denied, the plan holds what is left.
  return plan ? std::move(plan.value().policy) : EgressPolicy();
}

void add_links(EgressPolicy& policy, const std::string& id,
               const std::vector<store::LinkRecord>& links) {
  for (const store::LinkRecord& link : links) {
    if (link.from == id) policy.links.push_back({link.name, link.to, uint16_t(link.port)});
  }
}

EgressLevel level_of(const EgressPolicy& policy) {
  if (policy.layers.empty()) return EgressLevel::none;
  EgressLevel level = EgressLevel::internet;
  for (const policy::EgressLayer& layer : policy.layers) level = std::min(level, layer.level);
  return level;
}

std::string write_policy(const EgressPolicy& policy) {
  return json::serialize(policy::to_json(policy));
}

EgressPolicy read_policy(std::string_view stored) {
  json::error_code bad;
  json::value value = json::parse(word(stored), bad);
  const json::object* fields = bad ? nullptr : value.if_object();
  if (!fields) return {};
  auto policy = policy::parse_egress(*fields);
  return policy ? std::move(policy.value()) : EgressPolicy();
}

json::object shown_egress(const EgressPolicy& policy) {
  json::object shown;
  shown["level"] = word(policy::to_string(level_of(policy)));
  json::array layers;
  for (const policy::EgressLayer& layer : policy.layers) {
    json::object entry;
    entry["name"] = layer.name;
    entry["level"] = word(policy::to_string(layer.level));
    entry["allow"] = texts_of(layer.allow);
    entry["deny"] = texts_of(layer.deny);
    layers.push_back(std::move(entry));
  }
  shown["layers"] = std::move(layers);
  json::array links;
  for (const policy::EgressLink& link : policy.links) {
    json::object entry;
    entry["name"] = link.name;
    entry["sandboxID"] = link.box;
    entry["port"] = link.port;
    links.push_back(std::move(entry));
  }
  shown["links"] = std::move(links);
  return shown;
}

std::string with_rule(const policy::Decision& decision) {
  return decision.explanation() + " (rule " + decision.rule + ")";
}

Error refused_by(const policy::Decision& decision) {
  return Error(ErrorCode::permission_denied, with_rule(decision));
}

json::object decision_json(const policy::Decision& decision) {
  json::object object;
  object["allowed"] = decision.allowed;
  object["rule"] = decision.rule;
  object["reason"] = decision.reason;
  object["remedy"] = decision.remedy;
  return object;
}

}  // namespace hako::api
