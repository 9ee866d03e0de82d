#include "policy/egress_json.h"

#include <algorithm>

#include "policy/target_match.h"

namespace hako::policy {
namespace {

namespace json = boost::json;

constexpr size_t kMostLayers = 128;
constexpr size_t kMostTargets = 2048;
constexpr size_t kMostLinks = 64;
constexpr size_t kMostTlsPorts = 1024;
constexpr size_t kMostIntercepted = 128;
constexpr size_t kMostInterceptedPorts = 16;
constexpr size_t kLongestWord = 64;
constexpr size_t kLongestLayerName = 128;  ///< "tenant " and a tenant's name, which may have 64
constexpr size_t kLongestName = 253;

Error wrong_member(std::string_view name, std::string_view expected) {
  return Error(ErrorCode::invalid_argument, in_quotes(name) + " must be " + std::string(expected));
}

/// A member that is not known may be a restriction: refused, not skipped.
Result<void> only(const json::object& object, std::initializer_list<std::string_view> known) {
  for (const auto& member : object) {
    if (std::find(known.begin(), known.end(), std::string_view(member.key())) == known.end()) {
      return Error(ErrorCode::invalid_argument, in_quotes(member.key()) + " is not a known member");
    }
  }
  return ok();
}

Result<std::string> read_word(const json::object& object, std::string_view name,
                              size_t longest = kLongestWord) {
  const json::value* value = object.if_contains(name);
  std::string word(value && value->is_string() ? std::string_view(value->get_string()) : "");
  auto is_printable = [](char c) { return c >= ' ' && c <= '~'; };
  if (word.empty() || word.size() > longest ||
      !std::all_of(word.begin(), word.end(), is_printable)) {
    return wrong_member(name,
                        "a text of 1 to " + std::to_string(longest) + " printable characters");
  }
  return word;
}

Result<int64_t> whole_number(const json::value& value, std::string_view name, int64_t least,
                             int64_t most) {
  json::error_code error;
  auto number = value.to_number<int64_t>(error);
  if (error || value.is_double() || number < least || number > most) {
    return wrong_member(
        name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return number;
}

template <class Number>
Result<void> read_limit(const json::object& object, std::string_view name, int64_t most,
                        Number& limit) {
  if (const json::value* value = object.if_contains(name)) {
    HAKO_TRY(auto number, whole_number(*value, name, 0, most));
    limit = static_cast<Number>(number);
  }
  return ok();
}

/// The elements of a list that may be missing.
Result<json::array> read_list(const json::object& object, std::string_view name, size_t most) {
  const json::value* value = object.if_contains(name);
  if (!value) return json::array();
  if (!value->is_array() || value->get_array().size() > most) {
    return wrong_member(name, "a list of at most " + std::to_string(most));
  }
  return value->get_array();
}

Result<std::vector<Target>> read_targets(const json::object& object, std::string_view name) {
  HAKO_TRY(auto list, read_list(object, name, kMostTargets));
  std::vector<Target> targets;
  for (const json::value& each : list) {
    if (!each.is_string()) return wrong_member(name, "a list of texts");
    auto target = parse_target(each.get_string());
    if (!target) return std::move(target).error().with_context(name);
    targets.push_back(std::move(target).value());
  }
  return targets;
}

Result<EgressLayer> read_layer(const json::value& value) {
  if (!value.is_object()) return wrong_member("layers", "a list of objects");
  const json::object& object = value.get_object();
  HAKO_TRYV(only(object, {"name", "level", "allow", "deny", "allow_beats_deny"}));
  EgressLayer layer;
  HAKO_TRY(layer.name, read_word(object, "name", kLongestLayerName));
  HAKO_TRY(auto word, read_word(object, "level"));
  auto level = egress_level_from(word);
  if (!level) return wrong_member("level", "none, allow or internet");
  layer.level = *level;
  HAKO_TRY(layer.allow, read_targets(object, "allow"));
  HAKO_TRY(layer.deny, read_targets(object, "deny"));
  if (const json::value* beats = object.if_contains("allow_beats_deny")) {
    if (!beats->is_bool()) return wrong_member("allow_beats_deny", "true or false");
    layer.allow_beats_deny = beats->get_bool();
  }
  return layer;
}

Result<EgressLink> read_link(const json::value& value) {
  if (!value.is_object()) return wrong_member("links", "a list of objects");
  const json::object& object = value.get_object();
  HAKO_TRYV(only(object, {"name", "box", "port"}));
  EgressLink link;
  HAKO_TRY(link.name, read_word(object, "name", kLongestName));
  if (!can_be_name(link.name)) return wrong_member("name", "a name as in DNS, in lower case");
  HAKO_TRY(link.box, read_word(object, "box"));
  const json::value* port = object.if_contains("port");
  HAKO_TRY(auto number, whole_number(port ? *port : json::value(), "port", 1, UINT16_MAX));
  link.port = static_cast<uint16_t>(number);
  return link;
}

Result<std::set<uint16_t>> read_ports(const json::object& object, std::string_view name,
                                      size_t most) {
  HAKO_TRY(auto list, read_list(object, name, most));
  std::set<uint16_t> ports;
  for (const json::value& each : list) {
    HAKO_TRY(auto port, whole_number(each, name, 1, UINT16_MAX));
    ports.insert(static_cast<uint16_t>(port));
  }
  return ports;
}

Result<InterceptedHost> read_intercepted(const json::value& value) {
  if (!value.is_object()) return wrong_member("intercept", "a list of objects");
  const json::object& object = value.get_object();
  HAKO_TRYV(only(object, {"host", "ports"}));
  InterceptedHost intercepted;
  HAKO_TRY(intercepted.host, read_word(object, "host", kLongestName));
  if (!can_be_name(intercepted.host)) return wrong_member("host", "a name as in DNS, in lower case");
  HAKO_TRY(intercepted.ports, read_ports(object, "ports", kMostInterceptedPorts));
  if (intercepted.ports.empty()) return wrong_member("ports", "a list of at least one port");
  return intercepted;
}

/// The gate looks for a host once: of two entries one would be forgotten.
Result<std::vector<InterceptedHost>> read_all_intercepted(const json::object& fields) {
  HAKO_TRY(auto list, read_list(fields, "intercept", kMostIntercepted));
  std::vector<InterceptedHost> all;
  for (const json::value& each : list) {
    HAKO_TRY(auto intercepted, read_intercepted(each));
    bool twice = std::any_of(all.begin(), all.end(), [&](const InterceptedHost& other) {
      return other.host == intercepted.host;
    });
    if (twice) return wrong_member("intercept", "a list that names each host once");
    all.push_back(std::move(intercepted));
  }
  return all;
}

Result<EgressLimits> read_limits(const json::object& fields) {
  EgressLimits limits;
  const json::value* value = fields.if_contains("limits");
  if (!value) return limits;
  if (!value->is_object()) return wrong_member("limits", "an object");
  const json::object& object = value->get_object();
  HAKO_TRYV(only(object, {"connections", "connects_per_second", "bytes_per_second", "bytes_total",
                          "names_per_second"}));
  HAKO_TRYV(read_limit(object, "connections", INT32_MAX, limits.connections));
  HAKO_TRYV(read_limit(object, "connects_per_second", INT32_MAX, limits.connects_per_second));
  HAKO_TRYV(read_limit(object, "bytes_per_second", INT64_MAX, limits.bytes_per_second));
  HAKO_TRYV(read_limit(object, "bytes_total", INT64_MAX, limits.bytes_total));
  HAKO_TRYV(read_limit(object, "names_per_second", INT32_MAX, limits.names_per_second));
  return limits;
}

json::array targets_json(const std::vector<Target>& targets) {
  json::array list;
  for (const Target& target : targets) list.emplace_back(to_string(target));
  return list;
}

json::array intercepted_json(const std::vector<InterceptedHost>& intercepted) {
  json::array list;
  for (const InterceptedHost& each : intercepted) {
    json::array ports(each.ports.begin(), each.ports.end());
    list.push_back({{"host", each.host}, {"ports", std::move(ports)}});
  }
  return list;
}

}  // namespace

json::object to_json(const EgressPolicy& policy) {
  json::array layers, links, tls_ports;
  for (const EgressLayer& layer : policy.layers) {
    layers.push_back({{"name", layer.name},
                      {"level", to_string(layer.level)},
                      {"allow", targets_json(layer.allow)},
                      {"deny", targets_json(layer.deny)},
                      {"allow_beats_deny", layer.allow_beats_deny}});
  }
  for (const EgressLink& link : policy.links) {
    links.push_back({{"name", link.name}, {"box", link.box}, {"port", link.port}});
  }
  for (uint16_t port : policy.tls_ports) tls_ports.emplace_back(port);
  const EgressLimits& limits = policy.limits;
  json::object fields = {{"layers", std::move(layers)},
          {"private_networks", targets_json(policy.private_networks)},
          {"links", std::move(links)},
          {"tls_ports", std::move(tls_ports)},
          {"limits",
           {{"connections", limits.connections},
            {"connects_per_second", limits.connects_per_second},
            {"bytes_per_second", limits.bytes_per_second},
            {"bytes_total", limits.bytes_total},
            {"names_per_second", limits.names_per_second}}}};
  // Only where there is something to say: a gate that does not know the member refuses the policy.
  if (!policy.intercept.empty()) fields["intercept"] = intercepted_json(policy.intercept);
  return fields;
}

Result<EgressPolicy> parse_egress(const json::object& fields) {
  HAKO_TRYV(only(fields,
                 {"layers", "private_networks", "links", "intercept", "tls_ports", "limits"}));
  EgressPolicy policy;
  HAKO_TRY(auto layers, read_list(fields, "layers", kMostLayers));
  for (const json::value& each : layers) {
    HAKO_TRY(auto layer, read_layer(each));
    policy.layers.push_back(std::move(layer));
  }
  HAKO_TRY(policy.private_networks, read_targets(fields, "private_networks"));
  HAKO_TRY(auto links, read_list(fields, "links", kMostLinks));
  for (const json::value& each : links) {
    HAKO_TRY(auto link, read_link(each));
    policy.links.push_back(std::move(link));
  }
  HAKO_TRY(policy.intercept, read_all_intercepted(fields));
  if (fields.contains("tls_ports")) {
    HAKO_TRY(policy.tls_ports, read_ports(fields, "tls_ports", kMostTlsPorts));
  }
  HAKO_TRY(policy.limits, read_limits(fields));
  return policy;
}

}  // namespace hako::policy
