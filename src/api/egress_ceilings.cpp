#include "api/egress_ceilings.h"

#include <algorithm>

#include "policy/egress_json.h"

namespace hako::api {
namespace json = boost::json;
using policy::EgressLayer;
using policy::PermissionLayer;

namespace {

constexpr std::string_view kTenantLayer = "tenant ";
constexpr std::string_view kPlatformLayer = "platform";

std::optional<int64_t> lower_limit(std::optional<int64_t> a, std::optional<int64_t> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

void take(EgressCeilings& into, const std::string& name, const policy::Narrowing& leaves) {
  if (leaves.egress) {
    EgressLayer layer = *leaves.egress;
    layer.name = name;
    into.layers.push_back(std::move(layer));
  }
  into.bytes_total = lower_limit(into.bytes_total, leaves.egress_bytes);
}

EgressCeilings nothing_left(std::string name) {
  EgressLayer closed;
  closed.name = std::move(name);
  EgressCeilings ceilings;
  ceilings.layers.push_back(std::move(closed));
  return ceilings;
}

}  // namespace

EgressCeilings ceilings_of(const policy::Permission& permission, CeilingsOf whom) {
  EgressCeilings ceilings;
  for (const PermissionLayer& layer : permission) {
    if (layer.name == kPlatformLayer) continue;
    bool of_tenant = layer.name.starts_with(kTenantLayer);
    if (of_tenant == (whom == CeilingsOf::tenant)) take(ceilings, layer.name, layer.leaves);
  }
  return ceilings;
}

EgressCeilings ceilings_of_tenant(const std::string& tenant, const policy::Narrowing& policy) {
  EgressCeilings ceilings;
  take(ceilings, std::string(kTenantLayer) + tenant, policy);
  return ceilings;
}

EgressCeilings ceilings_of_unknown(const std::string& tenant) {
  return nothing_left(std::string(kTenantLayer) + tenant);
}

EgressCeilings both(EgressCeilings a, const EgressCeilings& b) {
  for (const EgressLayer& layer : b.layers) {
    if (std::find(a.layers.begin(), a.layers.end(), layer) == a.layers.end()) {
      a.layers.push_back(layer);
    }
  }
  a.bytes_total = lower_limit(a.bytes_total, b.bytes_total);
  return a;
}

json::object to_json(const EgressCeilings& ceilings) {
  policy::EgressPolicy policy;
  policy.layers = ceilings.layers;
  json::object object;
  object["layers"] = policy::to_json(policy).at("layers");
  if (ceilings.bytes_total) object["bytes"] = *ceilings.bytes_total;
  return object;
}

EgressCeilings parse_ceilings(const json::value& stored) {
  const json::object* object = stored.if_object();
  const json::value* layers = object ? object->if_contains("layers") : nullptr;
  const json::value* bytes = object ? object->if_contains("bytes") : nullptr;
  if (!layers || (bytes && !bytes->is_int64())) return nothing_left("record");
  auto policy = policy::parse_egress({{"layers", *layers}});
  if (!policy) return nothing_left("record");
  EgressCeilings ceilings{std::move(policy.value().layers), std::nullopt};
  if (bytes) ceilings.bytes_total = bytes->get_int64();
  return ceilings;
}

}  // namespace hako::api
