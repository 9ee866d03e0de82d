#include "api/sandbox_options.h"

#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>

#include <algorithm>
#include <charconv>

#include "api/model_terms.h"
#include "api/rule_headers.h"
#include "api/secret_request.h"
#include "wire/routing.h"

namespace hako::api {
namespace json = boost::json;
namespace ip = boost::asio::ip;

namespace {

constexpr size_t kMostTargets = 256;
constexpr size_t kLongestTarget = 256;
constexpr size_t kLongestDomain = 253;
constexpr size_t kLongestCredential = 255;
constexpr size_t kMostPorts = 64;
constexpr size_t kMostRuleDomains = 10;
constexpr size_t kLongestRuleDomain = 128;
constexpr MapLimits kHeaderLimits{.pairs = 20, .key = 64, .value = 2048, .total = 42 << 10};
constexpr std::string_view kPortPlace = "${PORT}";
constexpr std::string_view kEverything = "0.0.0.0/0";
constexpr std::string_view kNotSupported = "are not supported by this server";

bool is_network(std::string_view text) {
  boost::system::error_code bad;
  if (text.find('/') == text.npos) {
    ip::make_address(text, bad);
    return !bad;
  }
  ip::make_network_v4(text, bad);
  if (bad) ip::make_network_v6(text, bad);
  return !bad;
}

/// Labels of letters, digits and inner dashes; "*." may stand in front.
bool is_domain(std::string_view text) {
  if (text.substr(0, 2) == "*.") text.remove_prefix(2);
  if (text.empty() || text.size() > kLongestDomain) return false;
  while (!text.empty()) {
    size_t dot = text.find('.');
    std::string_view label = text.substr(0, dot);
    text = dot == text.npos ? std::string_view() : text.substr(dot + 1);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') {
      return false;
    }
    bool plain = std::all_of(label.begin(), label.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '_';
    });
    if (!plain || (dot != label.npos && text.empty())) return false;
  }
  return true;
}

/// host:port, the host being a domain name or an address (IPv6 in brackets).
bool is_host_and_port(std::string_view text) {
  size_t colon = text.rfind(':');
  if (colon == text.npos) return false;
  std::string_view host = text.substr(0, colon);
  std::string_view digits = text.substr(colon + 1);
  uint16_t port = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0) return false;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    boost::system::error_code bad;
    ip::make_address_v6(host.substr(1, host.size() - 2), bad);
    return !bad;
  }
  return is_domain(host) && host.front() != '*';
}

/// What may stand in a Host header, once the port is in its place.
bool is_mask(std::string text) {
  for (size_t at = text.find(kPortPlace); at != text.npos; at = text.find(kPortPlace)) {
    text.replace(at, kPortPlace.size(), "80");
  }
  if (text.empty() || text.size() > kLongestDomain) return false;
  return is_host_and_port(text) || (is_domain(text) && text.front() != '*');
}

json::array to_array(const std::vector<std::string>& texts) {
  return json::array(texts.begin(), texts.end());
}

/// Checks each entry of a list of targets. Whether one of them is a domain.
bool read_targets(FieldReader& reader, std::string_view name, bool domains_allowed,
                  json::object& network) {
  auto targets = reader.text_list(name, kMostTargets, kLongestTarget);
  if (!targets) return false;
  bool any_domain = false;
  for (size_t i = 0; i < targets->size(); ++i) {
    const std::string& target = (*targets)[i];
    bool usable = policy::parse_target(target).has_value();
    if (usable && is_network(target)) continue;
    std::string where = std::string(name) + "[" + std::to_string(i) + "]";
    if (!usable || !is_domain(target)) {
      reader.fail(where, domains_allowed ? "must be an IP address, a CIDR block or a domain name"
                                         : "must be an IP address or a CIDR block");
    } else if (!domains_allowed) {
      reader.fail(where, "must be an IP address or a CIDR block: domains cannot be denied");
    }
    any_domain = true;
  }
  network[json::string_view(name.data(), name.size())] = to_array(*targets);
  return any_domain;
}

void check_proxy(FieldReader& reader) {
  const json::object* proxy = reader.object("egressProxy");
  if (!proxy) return;
  FieldReader inner(*proxy, "network.egressProxy.");
  auto address = inner.text("address", kLongestTarget);
  if (!address || !is_host_and_port(*address)) inner.fail("address", "must be host:port");
  for (const char* name : {"username", "password"}) inner.text(name, kLongestCredential);
  reader.merge(inner);
  reader.fail("egressProxy", kNotSupported, ErrorCode::unsupported);
}

/// One domain's rule: {transform?: {headers?: {name: value}}}.
json::object read_rule(FieldReader& reader, const std::string& where, const json::object& rule) {
  json::object kept;
  FieldReader inner(rule, where + ".");
  if (const json::object* transform = inner.object("transform")) {
    FieldReader innermost(*transform, where + ".transform.");
    json::object headers;
    for (auto& [name, value] : innermost.texts("headers", kHeaderLimits).value_or(TextPairs())) {
      auto printable = [](char c) { return c >= ' ' && c <= '~'; };
      if (!std::all_of(value.begin(), value.end(), printable)) {
        innermost.fail("headers", "must hold printable ASCII characters alone");
      }
      if (!may_set_header(name)) innermost.fail("headers", "must be ones that clients may set");
      auto named = secrets_in(value);
      if (!named) innermost.fail("headers", "is wrong: " + named.error().message(), named.error().code());
      headers[name] = value;
    }
    inner.merge(innermost);
    kept["transform"] = json::object();
    kept["transform"].as_object()["headers"] = std::move(headers);
  }
  reader.merge(inner);
  return kept;
}

void read_rules(FieldReader& reader, json::object& network) {
  const json::object* rules = reader.object("rules");
  if (!rules) return;
  if (rules->size() > kMostRuleDomains) {
    return reader.fail("rules", "must have at most 10 domains");
  }
  json::object kept;
  for (const auto& member : *rules) {
    std::string domain(member.key());
    std::string where = "rules." + domain.substr(0, kLongestRuleDomain);
    if (domain.size() > kLongestRuleDomain || !is_domain(domain)) {
      reader.fail(where, "must be named by a domain of at most 128 characters");
      return;
    }
    if (domain.starts_with("*.")) {
      reader.fail(where, "is a pattern: rules for exact names alone are supported by this server",
                  ErrorCode::unsupported);
      return;
    }
    const json::array* list = member.value().if_array();
    if (!list || list->size() > 1) {
      reader.fail(where, "must be an array of at most one rule");
      return;
    }
    json::array entries;
    for (const json::value& item : *list) {
      const json::object* rule = item.if_object();
      if (!rule) return reader.fail(where, "must hold objects");
      entries.push_back(read_rule(reader, "network." + where, *rule));
    }
    std::transform(domain.begin(), domain.end(), domain.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
    kept[domain] = std::move(entries);
  }
  network["rules"] = std::move(kept);
}

void read_https_ports(FieldReader& reader, json::object& network) {
  const json::array* ports = reader.array("httpsPorts");
  if (!ports) return;
  if (ports->size() > kMostPorts) return reader.fail("httpsPorts", "must have at most 64 entries");
  json::array kept;
  for (const json::value& item : *ports) {
    const int64_t* port = item.if_int64();
    if (!port || *port < 1 || *port > 65535 || *port == wire::kDaemonPort) {
      return reader.fail("httpsPorts", "must hold ports from 1 to 65535, and not 49983");
    }
    kept.emplace_back(*port);
  }
  network["httpsPorts"] = std::move(kept);
}

bool denies_everything(const json::object& network) {
  const json::value* list = network.if_contains("denyOut");
  if (!list || !list->is_array()) return false;
  const json::array& targets = list->get_array();
  return std::any_of(targets.begin(), targets.end(), [](const json::value& target) {
    return target == json::value(json::string_view(kEverything.data(), kEverything.size()));
  });
}

/// The rules for what goes out. A list of allowed domains means something only where all else is
/// denied.
void read_outgoing(FieldReader& reader, bool internet, json::object& network) {
  bool domains = read_targets(reader, "allowOut", true, network);
  read_targets(reader, "denyOut", false, network);
  check_proxy(reader);
  read_rules(reader, network);
  if (domains && internet && !denies_everything(network)) {
    reader.fail("allowOut", "names domains, so denyOut must hold 0.0.0.0/0");
  }
}

const json::object* member_object(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(json::string_view(name.data(), name.size()));
  return found ? found->if_object() : nullptr;
}

bool flag_of(const json::object& object, std::string_view name, bool fallback) {
  const json::value* found = object.if_contains(json::string_view(name.data(), name.size()));
  return found && found->is_bool() ? found->get_bool() : fallback;
}

}  // namespace

bool SandboxOptions::is_public() const {
  return flag_of(network, "allowPublicTraffic", true);
}

std::string SandboxOptions::mask_host() const {
  const json::value* mask = network.if_contains("maskRequestHost");
  return mask && mask->is_string() ? std::string(mask->get_string()) : std::string();
}

SandboxOptions read_options(FieldReader& reader, const TextPairs& metadata) {
  SandboxOptions options;
  options.allow_internet_access = reader.flag("allow_internet_access");
  if (const json::object* network = reader.object("network")) {
    FieldReader inner(*network, "network.");
    read_outgoing(inner, options.allow_internet_access.value_or(true), options.network);
    if (auto open = inner.flag("allowPublicTraffic")) options.network["allowPublicTraffic"] = *open;
    if (auto mask = inner.text("maskRequestHost", kLongestTarget); mask && !mask->empty()) {
      if (!is_mask(*mask)) inner.fail("maskRequestHost", "must be a host name, ${PORT} allowed");
      options.network["maskRequestHost"] = *mask;
    }
    read_https_ports(inner, options.network);
    reader.merge(inner);
  }
  read_egress_metadata(reader, metadata, options.egress);
  read_egress(reader, options.egress);
  options.models = read_model_terms(reader);
  options.auto_pause = reader.flag("autoPause").value_or(false);
  options.auto_pause_memory = reader.flag("autoPauseMemory").value_or(true);
  if (const json::object* resume = reader.object("autoResume")) {
    FieldReader inner(*resume, "autoResume.");
    options.auto_resume = inner.flag("enabled").value_or(false);
    reader.merge(inner);
  }
  if (!options.auto_pause_memory && !options.auto_pause) {
    reader.fail("autoPauseMemory", "cannot be false without autoPause");
  }
  if (!options.auto_pause_memory && options.auto_resume) {
    reader.fail("autoPauseMemory", "cannot be false with autoResume");
  }
  return options;
}

Result<NetworkChange> update_network(SandboxOptions options, std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  options.allow_internet_access = reader.flag("allow_internet_access");
  for (const char* name : {"allowOut", "denyOut", "egressProxy", "rules"}) {
    options.network.erase(name);
  }
  read_outgoing(reader, options.allow_internet_access.value_or(true), options.network);
  read_egress(reader, options.egress);
  HAKO_TRYV(reader.outcome());
  NetworkChange change{std::move(options)};
  for (const char* name : {"egress", "allow", "deny"}) {
    change.in_our_words = change.in_our_words || object.contains(name);
  }
  return change;
}

namespace {

/// Earlier versions kept this in their records.
bool asks_for_proxy(const json::object& network) {
  return network.contains("egressProxy");
}

Result<void> append_targets(std::vector<policy::Target>& into, const std::string& text) {
  HAKO_TRY(auto target, policy::parse_target(text));
  into.push_back(std::move(target));
  return ok();
}

Result<std::vector<policy::Target>> targets_of(const std::vector<std::string>& texts) {
  std::vector<policy::Target> targets;
  for (const std::string& text : texts) {
    HAKO_TRYV(append_targets(targets, text));
  }
  return targets;
}

/// Of E2B's list `name`.
Result<std::vector<policy::Target>> targets_of(const json::object& network, std::string_view name) {
  std::vector<policy::Target> targets;
  const json::value* list = network.if_contains(json::string_view(name.data(), name.size()));
  if (!list || !list->is_array()) return targets;
  for (const json::value& item : list->get_array()) {
    std::string text = item.is_string() ? std::string(item.get_string()) : std::string();
    HAKO_TRYV(append_targets(targets, text));
  }
  return targets;
}

}  // namespace

Result<policy::EgressRequest> egress_request(const SandboxOptions& options) {
  if (asks_for_proxy(options.network)) {
    return Error(ErrorCode::unsupported, "proxies " + std::string(kNotSupported));
  }
  policy::EgressRequest request;
  request.level = options.egress.level;
  // A list of ours says that only what is on it is wanted.
  if (!request.level && !options.egress.allow.empty()) request.level = policy::EgressLevel::allow;
  HAKO_TRY(request.own_allow, targets_of(options.egress.allow));
  HAKO_TRY(request.own_deny, targets_of(options.egress.deny));
  request.allow_internet_access = options.allow_internet_access;
  HAKO_TRY(request.allow_out, targets_of(options.network, "allowOut"));
  HAKO_TRY(request.deny_out, targets_of(options.network, "denyOut"));
  const json::value* ports = options.network.if_contains("httpsPorts");
  if (ports && ports->is_array()) {
    for (const json::value& port : ports->get_array())
      if (port.is_int64()) request.https_ports.insert(uint16_t(port.get_int64()));
  }
  return request;
}

std::string write_options(const SandboxOptions& options) {
  json::object object;
  object["network"] = options.network;
  if (options.allow_internet_access) object["internet"] = *options.allow_internet_access;
  object["egress"] = to_json(options.egress);
  object["autoPause"] = options.auto_pause;
  object["autoPauseMemory"] = options.auto_pause_memory;
  object["autoResume"] = options.auto_resume;
  object["timeout"] = options.timeout_s;
  if (!options.secrets.empty()) object["secrets"] = to_array(options.secrets);
  if (options.rules_by_keeper) object["rulesByKeeper"] = true;
  if (options.ends_by_ms != INT64_MAX) object["endsBy"] = options.ends_by_ms;
  if (options.made_under != EgressCeilings()) object["madeUnder"] = to_json(options.made_under);
  if (options.changed_under != EgressCeilings()) {
    object["changedUnder"] = to_json(options.changed_under);
  }
  if (!options.models.empty()) object["models"] = options.models;
  return json::serialize(object);
}

SandboxOptions parse_options(std::string_view text) {
  SandboxOptions options;
  json::error_code bad;
  json::value value = json::parse(json::string_view(text.data(), text.size()), bad);
  const json::object* object = bad ? nullptr : value.if_object();
  if (!object) return options;
  if (const json::object* network = member_object(*object, "network")) options.network = *network;
  if (const json::value* internet = object->if_contains("internet");
      internet && internet->is_bool())
    options.allow_internet_access = internet->get_bool();
  if (const json::object* egress = member_object(*object, "egress")) {
    options.egress = parse_egress_options(*egress);
  }
  if (const json::object* models = member_object(*object, "models")) options.models = *models;
  options.auto_pause = flag_of(*object, "autoPause", false);
  options.auto_pause_memory = flag_of(*object, "autoPauseMemory", true);
  options.auto_resume = flag_of(*object, "autoResume", false);
  if (const json::value* secrets = object->if_contains("secrets"); secrets && secrets->is_array()) {
    for (const json::value& id : secrets->get_array())
      if (id.is_string()) options.secrets.emplace_back(id.get_string());
  }
  options.rules_by_keeper = flag_of(*object, "rulesByKeeper", false);
  if (const json::value* timeout = object->if_contains("timeout")) {
    auto seconds = timeout->to_number<int64_t>(bad);
    if (!bad) options.timeout_s = seconds;
  }
  if (const json::value* ends_by = object->if_contains("endsBy")) {
    auto ms = ends_by->to_number<int64_t>(bad);
    if (!bad) options.ends_by_ms = ms;
  }
  if (const json::value* under = object->if_contains("madeUnder")) {
    options.made_under = parse_ceilings(*under);
  }
  if (const json::value* under = object->if_contains("changedUnder")) {
    options.changed_under = parse_ceilings(*under);
  }
  return options;
}

json::object shown_network(const SandboxOptions& options) {
  json::object network = options.network;
  // Kept by earlier versions, with its password.
  network.erase("egressProxy");
  network["allowPublicTraffic"] = options.is_public();
  return network;
}

}  // namespace hako::api
