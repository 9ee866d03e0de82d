#include "api/secret_request.h"

#include <algorithm>

#include "api/egress_options.h"
#include "api/egress_policy.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;
using policy::InterceptedHost;
using store::SecretRecord;

namespace {

constexpr size_t kShortestSecret = 8;
constexpr size_t kLongestSecret = 8192;
constexpr size_t kMostSecretHosts = 16;
constexpr size_t kMostPortsOfHost = 16;
constexpr size_t kLongestSecretHost = 300;
constexpr size_t kMostUses = 4;
constexpr size_t kMostSecretGrants = 64;
constexpr size_t kLongestHeaderName = 64;
constexpr size_t kLongestHeaderForm = 256;
constexpr size_t kLongestBasicUser = 128;
constexpr size_t kLongestVariable = 128;
constexpr MapLimits kSecretMetadata{.pairs = 32, .key = 128, .value = 1024, .total = 8192};
constexpr std::string_view kSecretPlace = "{}";
constexpr std::string_view kValueRule =
    "must have 8 to 8192 printable ASCII characters, and no blank at either end";

bool is_printable_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::string lower_cased(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return out;
}

bool is_variable(std::string_view name) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && letter(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

bool is_header_name(std::string_view name) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !name.empty() && name.size() <= kLongestHeaderName &&
         std::all_of(name.begin(), name.end(), [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  kOthers.find(c) != kOthers.npos;
         });
}

/// "api.example.com", "api.example.com:443,8443".
std::optional<InterceptedHost> host_from(std::string_view text) {
  auto target = policy::parse_target(text);
  if (!target || target.value().kind != policy::Target::Kind::name) return std::nullopt;
  InterceptedHost host;
  host.host = target.value().name;
  if (host.host.ends_with(policy::kLinkSuffix)) return std::nullopt;
  if (target.value().ports.empty()) return host;
  host.ports.clear();
  for (policy::PortRange range : target.value().ports) {
    if (size_t(range.last - range.first) >= kMostPortsOfHost) return std::nullopt;
    for (int port = range.first; port <= range.last; ++port) host.ports.insert(uint16_t(port));
  }
  if (host.ports.size() > kMostPortsOfHost) return std::nullopt;
  return host;
}

std::string host_text(const InterceptedHost& host) {
  if (host.ports == std::set<uint16_t>{443}) return host.host;
  std::string text = host.host;
  char before = ':';
  for (uint16_t port : host.ports) {
    text += before + std::to_string(port);
    before = ',';
  }
  return text;
}

void read_hosts(FieldReader& reader, SecretRequest& request) {
  auto texts = reader.text_list("hosts", kMostSecretHosts, kLongestSecretHost);
  if (!texts) return;
  std::vector<InterceptedHost> hosts;
  for (const std::string& text : *texts) {
    auto host = host_from(text);
    bool twice = host && std::any_of(hosts.begin(), hosts.end(), [&](const auto& other) {
                   return other.host == host->host;
                 });
    if (!host || twice) {
      return reader.fail("hosts",
                         "must be exact host names, each once, with ports behind a ':' where they "
                         "are not 443: \"api.example.com\", \"git.example.com:443,8443\"");
    }
    hosts.push_back(std::move(*host));
  }
  request.hosts = std::move(hosts);
}

std::optional<SecretUse> use_from(FieldReader& reader) {
  SecretUse use;
  std::string kind = reader.text("kind", 16).value_or("");
  if (kind == "bearer") {
    reader.allow_only({"kind"});
  } else if (kind == "basic") {
    use.kind = SecretUse::Kind::basic;
    reader.allow_only({"kind", "user"});
    use.user = reader.text("user", kLongestBasicUser).value_or("");
    if (!is_printable_value(use.user) || use.user.find(':') != std::string::npos) {
      reader.fail("user", "must be printable, without ':'");
    }
  } else if (kind == "header") {
    use.kind = SecretUse::Kind::header;
    reader.allow_only({"kind", "header", "template"});
    use.header = reader.text("header", kLongestHeaderName).value_or("");
    use.form = reader.text("template", kLongestHeaderForm).value_or(std::string(kSecretPlace));
    if (!may_set_header(use.header)) reader.fail("header", "must be a header that clients may set");
    size_t at = use.form.find(kSecretPlace);
    if (at == use.form.npos || use.form.find(kSecretPlace, at + 1) != use.form.npos ||
        !is_printable_value(use.form)) {
      reader.fail("template", "must be printable, with {} once where the secret belongs");
    }
  } else {
    reader.fail("kind", "must be header, bearer or basic");
  }
  if (!reader.outcome()) return std::nullopt;
  return use;
}

/// One object, or a list of them. Null: there is none.
std::vector<const json::object*> objects_at(FieldReader& reader, const json::object& body,
                                            std::string_view name, size_t most) {
  std::vector<const json::object*> found;
  const json::value* value = body.if_contains(json::string_view(name.data(), name.size()));
  if (!value || value->is_null()) return found;
  if (const json::object* one = value->if_object()) found.push_back(one);
  if (const json::array* list = value->if_array()) {
    for (const json::value& each : *list) {
      if (const json::object* one = each.if_object()) found.push_back(one);
    }
    if (found.size() != list->size()) found.clear();
  }
  if (found.empty() || found.size() > most) {
    reader.fail(name, "must be a list of 1 to " + std::to_string(most) + " objects");
    found.clear();
  }
  return found;
}

void read_uses(FieldReader& reader, const json::object& body, SecretRequest& request) {
  std::vector<SecretUse> uses;
  for (const json::object* each : objects_at(reader, body, "use", kMostUses)) {
    FieldReader inner(*each, "use.");
    auto use = use_from(inner);
    reader.merge(inner);
    if (!use) return;
    uses.push_back(std::move(*use));
  }
  if (!uses.empty()) request.uses = std::move(uses);
}

void read_secret_grants(FieldReader& reader, const json::object& body, SecretRequest& request) {
  std::vector<SecretGrant> grants;
  for (const json::object* each : objects_at(reader, body, "grants", kMostSecretGrants)) {
    FieldReader inner(*each, "grants.");
    inner.allow_only({"tenant", "agent", "box"});
    SecretGrant grant;
    grant.tenant = inner.text("tenant", 64).value_or("");
    grant.agent = inner.text("agent", 600).value_or("");
    grant.box = inner.text("box", 64).value_or("");
    int set = int(!grant.tenant.empty()) + int(!grant.agent.empty()) + int(!grant.box.empty());
    if (set != 1) inner.fail("tenant", "or agent, or box must be there: exactly one of them");
    if (!grant.tenant.empty() && !policy::is_tenant_name(grant.tenant)) {
      inner.fail("tenant", "must be a tenant's name");
    }
    if (!grant.agent.empty() && !policy::is_agent_path(grant.agent)) {
      inner.fail("agent", "must be an agent's path");
    }
    reader.merge(inner);
    grants.push_back(std::move(grant));
  }
  if (!grants.empty()) request.grants = std::move(grants);
}

void read_name(FieldReader& reader, SecretRequest& request) {
  auto text = reader.text("name", kLongestSecretName);
  request.name = text ? secret_name(*text) : std::nullopt;
  if (!request.name) {
    reader.fail("name", "must be a name of 1 to 64 of a-z, 0-9, '-', '_' and '.', and not begin "
                        "with sec_");
  }
}

void read_value(FieldReader& reader, SecretRequest& request) {
  request.value = reader.text("value", kLongestSecret);
  if (!request.value || !is_secret_value(*request.value)) reader.fail("value", kValueRule);
}

void read_secret_metadata(FieldReader& reader, SecretRequest& request) {
  auto pairs = reader.texts("metadata", kSecretMetadata);
  if (!pairs) return;
  json::object metadata;
  for (const auto& [key, text] : *pairs) metadata[key] = text;
  request.metadata = std::move(metadata);
}

void read_rest(FieldReader& reader, const json::object& body, SecretRequest& request) {
  read_hosts(reader, request);
  read_uses(reader, body, request);
  request.env = reader.text("env", kLongestVariable);
  if (request.env && !request.env->empty() && !is_variable(*request.env)) {
    reader.fail("env", "must be the name of a variable");
  }
  request.label = read_label(reader);
  read_secret_grants(reader, body, request);
  read_secret_metadata(reader, request);
}

json::array uses_json(const std::vector<SecretUse>& uses) {
  json::array list;
  for (const SecretUse& use : uses) {
    json::object one;
    one["kind"] = std::string(to_string(use.kind));
    if (use.kind == SecretUse::Kind::header) {
      one["header"] = use.header;
      one["template"] = use.form;
    }
    if (use.kind == SecretUse::Kind::basic && !use.user.empty()) one["user"] = use.user;
    list.push_back(std::move(one));
  }
  return list;
}

json::array grants_json(const std::vector<SecretGrant>& grants) {
  json::array list;
  for (const SecretGrant& grant : grants) {
    json::object one;
    if (!grant.tenant.empty()) one["tenant"] = grant.tenant;
    if (!grant.agent.empty()) one["agent"] = grant.agent;
    if (!grant.box.empty()) one["box"] = grant.box;
    list.push_back(std::move(one));
  }
  return list;
}

json::array hosts_json(const std::vector<InterceptedHost>& hosts) {
  json::array list;
  for (const InterceptedHost& host : hosts) list.emplace_back(host_text(host));
  return list;
}

/// A member of the store's, under `name` in an object so that a request's reader reads it.
template <class Read>
SecretRequest read_stored(const std::string& stored, const char* name, Read read) {
  SecretRequest request;
  json::error_code bad;
  json::value value = json::parse(stored.empty() ? "[]" : stored, bad);
  json::object body;
  if (!bad) body[name] = std::move(value);
  FieldReader reader(body);
  read(reader, body, request);
  return reader.outcome() ? std::move(request) : SecretRequest();
}

json::object shown_metadata(const SecretRecord& record) {
  json::error_code bad;
  json::value value = json::parse(record.metadata.empty() ? "{}" : record.metadata, bad);
  return bad || !value.is_object() ? json::object() : std::move(value.get_object());
}

bool covers(const SecretGrant& grant, const SecretRecord& secret,
            const store::SandboxRecord& box) {
  if (!grant.tenant.empty()) return grant.tenant == box.tenant;
  if (secret.tenant != box.tenant) return false;
  if (!grant.agent.empty()) return policy::is_at_or_below(box.agent, grant.agent);
  return !grant.box.empty() && grant.box == box.id;
}

}  // namespace

std::string_view to_string(SecretUse::Kind kind) {
  switch (kind) {
    case SecretUse::Kind::header:
      return "header";
    case SecretUse::Kind::bearer:
      return "bearer";
    case SecretUse::Kind::basic:
      return "basic";
  }
  return "bearer";
}

std::optional<std::string> secret_name(std::string_view text) {
  std::string name = lower_cased(text);
  auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  bool fits = !name.empty() && name.size() <= kLongestSecretName &&
              !name.starts_with(kSecretIdPrefix) && alphanumeric(name.front()) &&
              alphanumeric(name.back()) &&
              std::all_of(name.begin(), name.end(), [&](char c) {
                return alphanumeric(c) || c == '-' || c == '_' || c == '.';
              });
  if (!fits) return std::nullopt;
  return name;
}

bool is_secret_value(std::string_view value) {
  return value.size() >= kShortestSecret && value.size() <= kLongestSecret &&
         is_printable_value(value) && value.front() != ' ' && value.back() != ' ';
}

bool may_set_header(std::string_view name) {
  if (!is_header_name(name)) return false;
  std::string header = lower_cased(name);
  constexpr std::string_view kNever[] = {
      "host",    "connection", "content-length", "transfer-encoding", "content-encoding", "te",
      "trailer", "upgrade",    "keep-alive",     "expect",            "accept-encoding"};
  bool never = std::find(std::begin(kNever), std::end(kNever), header) != std::end(kNever);
  return !never && !header.starts_with("proxy-") && !header.starts_with("sec-websocket-");
}

Result<SecretRequest> parse_new_secret(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"name", "value", "hosts", "use", "env", "label", "grants", "metadata"});
  SecretRequest request;
  read_name(reader, request);
  read_value(reader, request);
  read_rest(reader, object, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<SecretRequest> parse_secret_change(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"hosts", "use", "env", "label", "grants", "metadata"});
  SecretRequest request;
  read_rest(reader, object, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<SecretRequest> parse_secret_rotation(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"value"});
  SecretRequest request;
  read_value(reader, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<SecretRequest> parse_e2b_secret(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  SecretRequest request;
  read_name(reader, request);
  read_value(reader, request);
  read_secret_metadata(reader, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<SecretRequest> parse_e2b_secret_update(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  SecretRequest request;
  read_value(reader, request);
  read_secret_metadata(reader, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

std::vector<SecretUse> usual_uses(std::string_view value) {
  using Kind = SecretUse::Kind;
  if (value.starts_with("sk-ant-api") || value.starts_with("sk-ant-admin")) {
    return {{.kind = Kind::header, .header = "x-api-key"}, {.kind = Kind::bearer}};
  }
  if (value.starts_with("AIza")) return {{.kind = Kind::header, .header = "x-goog-api-key"}};
  for (std::string_view git : {"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"}) {
    if (value.starts_with(git)) return {{.kind = Kind::basic}, {.kind = Kind::bearer}};
  }
  return {{.kind = Kind::bearer}};
}

void apply(const SecretRequest& request, SecretRecord& record) {
  if (request.name) record.name = *request.name;
  if (request.hosts) {
    record.hosts = request.hosts->empty() ? "" : json::serialize(hosts_json(*request.hosts));
  }
  if (request.uses) record.use = json::serialize(uses_json(*request.uses));
  if (request.env) record.env = *request.env;
  if (request.label) record.label = policy::to_string(*request.label);
  if (request.grants) record.grants = json::serialize(grants_json(*request.grants));
  if (request.metadata) {
    record.metadata = request.metadata->empty() ? "" : json::serialize(*request.metadata);
  }
}

std::vector<InterceptedHost> hosts_of(const SecretRecord& record) {
  auto read = [](FieldReader& reader, const json::object&, SecretRequest& request) {
    read_hosts(reader, request);
  };
  return read_stored(record.hosts, "hosts", read).hosts.value_or(std::vector<InterceptedHost>());
}

std::vector<SecretUse> uses_of(const SecretRecord& record) {
  auto request = read_stored(record.use, "use", read_uses);
  return request.uses.value_or(std::vector<SecretUse>());
}

std::vector<SecretGrant> grants_of(const SecretRecord& record) {
  auto request = read_stored(record.grants, "grants", read_secret_grants);
  return request.grants.value_or(std::vector<SecretGrant>());
}

json::object secret_json(const SecretRecord& record) {
  json::object shown;
  shown["secretID"] = record.id;
  shown["name"] = record.name;
  shown["tenant"] = record.tenant;
  shown["hosts"] = hosts_json(hosts_of(record));
  shown["use"] = uses_json(uses_of(record));
  shown["env"] = record.env;
  shown["label"] = record.label;
  shown["grants"] = grants_json(grants_of(record));
  shown["metadata"] = shown_metadata(record);
  shown["version"] = record.version;
  shown["createdAt"] = to_rfc3339(from_unix_ms(record.created_ms));
  shown["updatedAt"] = to_rfc3339(from_unix_ms(record.updated_ms));
  return shown;
}

json::object e2b_secret_json(const SecretRecord& record) {
  json::object shown;
  shown["secretID"] = record.id;
  shown["name"] = record.name;
  shown["currentVersion"] = record.version;
  shown["metadata"] = shown_metadata(record);
  shown["createdAt"] = to_rfc3339(from_unix_ms(record.created_ms));
  shown["updatedAt"] = to_rfc3339(from_unix_ms(record.updated_ms));
  return shown;
}

bool sees_secret(const Principal& who, const SecretRecord& record) {
  if (!policy::may_read(who.clearance, label_of(record.label)).allowed) return false;
  auto grants = grants_of(record);
  bool own = record.tenant == who.tenant;
  return (own && who.agent.empty()) ||
         std::any_of(grants.begin(), grants.end(), [&](const SecretGrant& grant) {
           if (!grant.tenant.empty()) return grant.tenant == who.tenant;
           return own && !grant.agent.empty() &&
                  (policy::is_at_or_below(who.agent, grant.agent) ||
                   policy::is_at_or_below(grant.agent, who.agent));
         });
}

Result<void> may_keep_secret(const Principal& who, const std::vector<SecretGrant>& grants,
                             policy::Label label) {
  auto readable = policy::may_read(who.clearance, label);
  if (!readable.allowed) return refused_by(readable);
  for (const SecretGrant& grant : grants) {
    bool other = !grant.tenant.empty() && grant.tenant != who.tenant;
    if (other && !who.is_operator && !who.roams) {
      return refused_by(policy::Decision::deny("secret.tenant",
                                               "only the operator grants secrets to other tenants",
                                               "have the operator keep it"));
    }
    if (who.agent.empty()) continue;
    if (grant.agent.empty() || !policy::is_at_or_below(grant.agent, who.agent)) {
      return refused_by(policy::Decision::deny(
          "secret.agent", "what agent " + who.agent + " keeps is for it and those below it",
          "grant it to agent " + who.agent));
    }
  }
  return ok();
}

policy::Decision may_use_secret(const SecretRecord& secret, const store::SandboxRecord& box) {
  auto grants = grants_of(secret);
  bool granted = std::any_of(grants.begin(), grants.end(), [&](const SecretGrant& grant) {
    return covers(grant, secret, box);
  });
  if (!granted) {
    return policy::Decision::deny("secret.grant",
                                  "secret " + secret.name + " is not granted to this sandbox",
                                  "have it granted to the tenant, the agent or the sandbox");
  }
  if (label_of(box.label) < label_of(secret.label)) {
    return policy::Decision::deny(
        "secret.label",
        "secret " + secret.name + " is " + secret.label + ", and the sandbox only " + box.label,
        "raise the sandbox's label to " + secret.label);
  }
  return policy::Decision::allow("secret.grant", "secret " + secret.name + " may be used");
}

}  // namespace hako::api
