#include "api/box_secrets.h"

#include <algorithm>
#include <map>

#include "api/egress_policy.h"
#include "api/now.h"
#include "api/rule_headers.h"
#include "api/sandbox_calls.h"
#include "api/secret_request.h"
#include "api/user_error.h"
#include "base/encoding.h"
#include "base/log.h"
#include "policy/permission.h"
#include "vault/box_authority.h"
#include "vault/placeholder.h"
#include "vault/seal.h"
#include "wire/macaroon.h"

namespace hako::api {
namespace json = boost::json;
using policy::Decision;
using policy::InterceptedHost;
using store::SandboxRecord;
using store::SecretRecord;

namespace {

/// What a policy, and the gate, take.
constexpr size_t kMostHostsOfBox = 128;
constexpr size_t kMostPortsOfOne = 16;
constexpr size_t kLongestRuleValue = 8192;

using Hosts = std::map<std::string, std::set<uint16_t>>;

Error without_master_key() {
  return Error(ErrorCode::unsupported,
               "this server keeps no secrets: its operator has set no [secrets] master key");
}

/// By id, or by name: the tenant's own come first.
const SecretRecord* find_by(const std::vector<SecretRecord>& secrets, std::string_view reference) {
  auto name = secret_name(reference);
  auto found = std::find_if(secrets.begin(), secrets.end(), [&](const SecretRecord& each) {
    return each.id == reference || (name && each.name == *name);
  });
  return found == secrets.end() ? nullptr : &*found;
}

const SecretRecord* find_by_id(const std::vector<SecretRecord>& secrets, std::string_view id) {
  auto found = std::find_if(secrets.begin(), secrets.end(),
                            [&](const SecretRecord& each) { return each.id == id; });
  return found == secrets.end() ? nullptr : &*found;
}

/// Whether a rule for this host may put it into a header.
Decision may_fill_rule(const SecretRecord& secret, std::string_view host, bool by_keeper) {
  auto hosts = hosts_of(secret);
  if (hosts.empty() && by_keeper) return Decision::allow("secret.host", "a keeper has said so");
  if (hosts.empty()) {
    return Decision::deny("secret.host",
                          "secret " + secret.name + " is bound to no host, so that only those who "
                          "may keep secrets send it anywhere",
                          "bind it to " + std::string(host));
  }
  bool bound = std::any_of(hosts.begin(), hosts.end(), [&](const InterceptedHost& each) {
    return each.host == host && each.ports.contains(443);
  });
  if (bound) return Decision::allow("secret.host", "it is bound to the host");
  return Decision::deny("secret.host",
                        "secret " + secret.name + " is not bound to " + std::string(host),
                        "bind it to " + std::string(host));
}

std::set<uint16_t> ports_of_rules() {
  return {443};
}

std::string placeholder_of(const vault::MasterKey& master, const SecretRecord& secret,
                           const std::string& box) {
  auto shape = vault::shape_from(secret.shape);
  return shape ? vault::placeholder(master, box, secret.id, *shape) : std::string();
}

Result<std::string> value_of(const vault::MasterKey& master, const SecretRecord& secret) {
  auto value = vault::unseal(master, secret.id, secret.sealed);
  if (value) return value;
  json::object fields;
  fields["secret"] = secret.id;
  fields["error"] = value.error().message();
  log_error("a secret cannot be read", std::move(fields));
  return Error(ErrorCode::corrupted, "secret " + secret.name + ": " + value.error().message());
}

json::object swap_json(const SecretRecord& secret, const SecretUse& use,
                       const std::string& placeholder, const std::string& value) {
  json::object swap;
  swap["secret"] = secret.name;
  swap["placeholder"] = placeholder;
  swap["value"] = value;
  swap["kind"] = std::string(to_string(use.kind));
  if (use.kind == SecretUse::Kind::header) {
    swap["header"] = use.header;
    swap["template"] = use.form;
  }
  if (use.kind == SecretUse::Kind::basic && !use.user.empty()) swap["user"] = use.user;
  return swap;
}

/// Of one server, as it is put together.
struct ServerMaterial {
  json::array always, swaps;
  std::string model;  ///< the api of models that are called there
  bool by_secret = false;  ///< with what is kept here only
  bool broken = false;  ///< what it was to get is not to be had: then nothing goes there

  bool operator==(const ServerMaterial&) const = default;
};
/// By host and port: two servers on one host have nothing to do with each other.
using Materials = std::map<std::pair<std::string, uint16_t>, ServerMaterial>;

void add_swaps(Materials& servers, const vault::MasterKey& master, const SecretRecord& secret,
               const std::string& placeholder) {
  auto value = value_of(master, secret);
  for (const InterceptedHost& host : hosts_of(secret)) {
    for (uint16_t port : host.ports) {
      ServerMaterial& material = servers[{host.host, port}];
      if (!value) continue;
      for (const SecretUse& use : uses_of(secret)) {
        material.swaps.push_back(swap_json(secret, use, placeholder, value.value()));
      }
    }
  }
}

/// A header of a rule, with the values of the secrets that it names.
Result<std::string> filled(const vault::MasterKey& master, const std::vector<SecretRecord>& kept,
                           const SandboxRecord& box, const RuleHeaders& rule,
                           std::string_view text, bool by_keeper) {
  return fill_in(text, [&](const std::string& name) -> Result<std::string> {
    const SecretRecord* secret = find_by(kept, name);
    if (!secret) return Error(ErrorCode::not_found, "secret " + name + " not found");
    Decision usable = may_use_secret(*secret, box);
    if (usable.allowed) usable = may_fill_rule(*secret, rule.host, by_keeper);
    if (!usable.allowed) return refused_by(usable);
    return value_of(master, *secret);
  });
}

void add_rule(Materials& servers, const vault::MasterKey& master,
              const std::vector<SecretRecord>& kept, const SandboxRecord& box,
              const RuleHeaders& rule, bool by_keeper) {
  ServerMaterial added;
  for (const auto& [name, text] : rule.headers) {
    auto value = filled(master, kept, box, rule, text, by_keeper);
    if (value && value.value().size() > kLongestRuleValue) {
      value = Error(ErrorCode::too_large, "a header would have more than 8192 characters");
    }
    if (!value) {
      json::object fields;
      fields["sandbox"] = box.id;
      fields["host"] = rule.host;
      fields["error"] = value.error().message();
      log_warn("a rule for headers cannot be followed", std::move(fields));
      added.broken = true;
      continue;
    }
    json::object header;
    header["header"] = name;
    header["value"] = value.value();
    added.always.push_back(std::move(header));
  }
  for (uint16_t port : ports_of_rules()) {
    ServerMaterial& material = servers[{rule.host, port}];
    material.broken = material.broken || added.broken;
    material.always.insert(material.always.end(), added.always.begin(), added.always.end());
  }
}

/// Ports of a host that get the same are told together.
json::array hosts_json(const Materials& materials) {
  json::array hosts;
  for (auto at = materials.begin(); at != materials.end();) {
    const std::string& name = at->first.first;
    std::vector<std::pair<const ServerMaterial*, json::array>> different;
    for (; at != materials.end() && at->first.first == name; ++at) {
      if (at->second.broken) continue;
      auto same = std::find_if(different.begin(), different.end(),
                               [&](const auto& each) { return *each.first == at->second; });
      if (same == different.end()) same = different.emplace(same, &at->second, json::array());
      same->second.push_back(at->first.second);
    }
    for (auto& [material, ports] : different) {
      json::object host;
      host["host"] = name;
      host["ports"] = std::move(ports);
      host["always"] = material->always;
      host["swaps"] = material->swaps;
      if (!material->model.empty()) {
        json::object model;
        model["api"] = material->model;
        model["by_secret"] = material->by_secret;
        host["model"] = std::move(model);
      }
      hosts.push_back(std::move(host));
    }
  }
  return hosts;
}

bool is_there(const SandboxRecord& record) {
  return record.state != store::SandboxState::paused;
}

}  // namespace

bool names_secret(const SandboxOptions& options, const SecretRecord& secret) {
  if (std::find(options.secrets.begin(), options.secrets.end(), secret.id) !=
      options.secrets.end()) {
    return true;
  }
  for (const RuleHeaders& rule : rule_headers(options)) {
    for (const auto& [name, value] : rule.headers) {
      auto named = secrets_in(value);
      if (!named) continue;
      for (const std::string& each : named.value())
        if (each == secret.name) return true;
    }
  }
  return false;
}

Task<Result<BoxSecrets::Secrets>> BoxSecrets::kept_for(std::string tenant) {
  auto work = [tenant](store::SecretStore& secrets) { return secrets.secrets_for(tenant); };
  auto found = co_await store_.with_secrets(std::move(work));
  if (!found) co_return error_for_user(found.error(), "secrets not read");
  co_return std::move(found);
}

BoxSecrets::Secrets BoxSecrets::named_by(const SandboxOptions& options, const SandboxRecord& box,
                                         const Secrets& kept) const {
  Secrets named;
  auto add = [&](const SecretRecord* secret) {
    if (secret && !find_by_id(named, secret->id)) named.push_back(*secret);
  };
  for (const std::string& id : options.secrets) add(find_by_id(kept, id));
  for (const ModelHost& model : models_) {
    const SecretRecord* secret = model.secret.empty() ? nullptr : find_by(kept, model.secret);
    if (secret && may_use_secret(*secret, box).allowed) add(secret);
  }
  return named;
}

Task<Result<BoxSecrets::Chosen>> BoxSecrets::choose(std::vector<std::string> names,
                                                    SandboxOptions& options, SandboxRecord box,
                                                    Principal who) {
  Chosen chosen;
  auto rules = rule_headers(options);
  if (names.empty() && rules.empty()) co_return chosen;
  if (!master_) co_return without_master_key();
  HAKO_CO_TRY(auto kept, co_await kept_for(box.tenant));
  std::erase_if(kept, [&](const SecretRecord& each) { return !sees_secret(who, each); });
  // The box gets the label that it needs; whether it may is asked by whoever gives it.
  box.label = to_string(policy::Label::secret);
  for (const std::string& name : names) {
    const SecretRecord* secret = find_by(kept, name);
    if (!secret) {
      co_return Error(ErrorCode::not_found,
                      "secret " + name.substr(0, kLongestSecretName) + " not found");
    }
    Decision usable = may_use_secret(*secret, box);
    if (!usable.allowed) co_return refused_by(usable);
    chosen.label = policy::high_water(chosen.label, label_of(secret->label));
    if (std::find(chosen.ids.begin(), chosen.ids.end(), secret->id) == chosen.ids.end()) {
      chosen.ids.push_back(secret->id);
    }
  }
  options.rules_by_keeper =
      !rules.empty() &&
      policy::may(who.permission, policy::Action::secret_manage, unix_now_ms()).allowed;
  for (const RuleHeaders& rule : rules) {
    for (const auto& [header, value] : rule.headers) {
      HAKO_CO_TRY(auto named, secrets_in(value));
      for (const std::string& name : named) {
        const SecretRecord* secret = find_by(kept, name);
        if (!secret) co_return Error(ErrorCode::not_found, "secret " + name + " not found");
        Decision usable = may_use_secret(*secret, box);
        if (usable.allowed) usable = may_fill_rule(*secret, rule.host, options.rules_by_keeper);
        if (!usable.allowed) co_return refused_by(usable);
        chosen.label = policy::high_water(chosen.label, label_of(secret->label));
      }
    }
  }
  co_return chosen;
}

Task<Result<std::vector<InterceptedHost>>> BoxSecrets::intercepts(SandboxRecord box) {
  SandboxOptions options = parse_options(box.options);
  Hosts hosts;
  for (const RuleHeaders& rule : rule_headers(options)) {
    auto ports = ports_of_rules();
    hosts[rule.host].insert(ports.begin(), ports.end());
  }
  for (const ModelHost& model : models_) hosts[model.host].insert(model.port);
  if (!options.secrets.empty() || !models_.empty()) {
    HAKO_CO_TRY(auto kept, co_await kept_for(box.tenant));
    for (const SecretRecord& secret : named_by(options, box, kept)) {
      if (!may_use_secret(secret, box).allowed) continue;
      for (const InterceptedHost& host : hosts_of(secret)) {
        hosts[host.host].insert(host.ports.begin(), host.ports.end());
      }
    }
  }
  std::vector<InterceptedHost> intercepted;
  for (auto& [host, ports] : hosts) {
    if (ports.size() > kMostPortsOfOne || intercepted.size() == kMostHostsOfBox) {
      co_return Error(ErrorCode::resource_exhausted,
                      "the secrets of a sandbox are bound to 128 hosts at most, and to 16 ports of each");
    }
    intercepted.push_back({host, std::move(ports)});
  }
  co_return intercepted;
}

Task<Result<std::vector<BoxSecrets::Attached>>> BoxSecrets::attached(SandboxRecord box) {
  std::vector<Attached> all;
  SandboxOptions options = parse_options(box.options);
  if (options.secrets.empty() && models_.empty()) co_return all;
  HAKO_CO_TRY(auto kept, co_await kept_for(box.tenant));
  for (SecretRecord& secret : named_by(options, box, kept)) {
    Attached one;
    one.usable = may_use_secret(secret, box);
    if (master_) one.placeholder = placeholder_of(*master_, secret, box.id);
    one.secret = std::move(secret);
    all.push_back(std::move(one));
  }
  co_return all;
}

Task<Result<void>> BoxSecrets::add_identity(json::object& body, SandboxRecord box) {
  if (!master_) co_return ok();
  std::string id = box.id;
  HAKO_CO_TRY(auto all, co_await attached(std::move(box)));
  json::object variables;
  for (const Attached& one : all) {
    if (one.secret.env.empty() || one.placeholder.empty()) continue;
    if (!variables.contains(one.secret.env)) variables[one.secret.env] = one.placeholder;
  }
  body["ca_certificate"] = vault::box_authority(*master_, id).certificate;
  body["placeholders"] = std::move(variables);
  co_return ok();
}

Task<Result<json::object>> BoxSecrets::material(std::string box) {
  Error nothing(ErrorCode::not_found, "nothing of that sandbox is intercepted");
  auto found = co_await store_.find_sandbox(box);
  if (!found) co_return error_for_user(found.error(), "record not read");
  if (!found.value() || !is_there(*found.value())) co_return nothing;
  const SandboxRecord& record = *found.value();
  SandboxOptions options = parse_options(record.options);
  auto rules = rule_headers(options);
  if (options.secrets.empty() && rules.empty() && models_.empty()) co_return nothing;
  if (!master_) co_return without_master_key();
  HAKO_CO_TRY(auto kept, co_await kept_for(record.tenant));
  Materials materials;
  json::array placeholders;
  for (const SecretRecord& secret : named_by(options, record, kept)) {
    std::string placeholder = placeholder_of(*master_, secret, record.id);
    if (placeholder.empty()) continue;
    json::object known;
    known["secret"] = secret.name;
    known["placeholder"] = placeholder;
    placeholders.push_back(std::move(known));
    if (may_use_secret(secret, record).allowed) add_swaps(materials, *master_, secret, placeholder);
  }
  for (const ModelHost& model : models_) {
    ServerMaterial& material = materials[{model.host, model.port}];
    material.model = model.api;
    material.by_secret = !model.secret.empty();
  }
  for (const RuleHeaders& rule : rules) {
    add_rule(materials, *master_, kept, record, rule, options.rules_by_keeper);
  }
  vault::BoxAuthority authority = vault::box_authority(*master_, record.id);
  json::object answer;
  answer["hosts"] = hosts_json(materials);
  answer["placeholders"] = std::move(placeholders);
  // Of what differs: the certificate is signed anew each time. Keyed, as values of secrets are in it.
  std::string digest_key = master_->derive("revision", record.id, 32);
  std::string digest = wire::hmac_sha256(digest_key, json::serialize(answer));
  answer["revision"] = hex_encode(digest.substr(0, 16));
  json::object ca;
  ca["certificate"] = authority.certificate;
  ca["key"] = authority.key;
  answer["ca"] = std::move(ca);
  co_return answer;
}

}  // namespace hako::api
