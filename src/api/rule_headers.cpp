#include "api/rule_headers.h"

#include "api/secret_request.h"

namespace hako::api {
namespace json = boost::json;

std::vector<RuleHeaders> rule_headers(const SandboxOptions& options) {
  std::vector<RuleHeaders> all;
  const json::value* rules = options.network.if_contains("rules");
  if (!rules || !rules->is_object()) return all;
  for (const auto& [host, list] : rules->get_object()) {
    if (!list.is_array()) continue;
    RuleHeaders of_host{std::string(host), {}};
    for (const json::value& rule : list.get_array()) {
      const json::object* fields = rule.if_object();
      const json::value* transform = fields ? fields->if_contains("transform") : nullptr;
      const json::object* inner = transform ? transform->if_object() : nullptr;
      const json::value* headers = inner ? inner->if_contains("headers") : nullptr;
      if (!headers || !headers->is_object()) continue;
      for (const auto& [name, value] : headers->get_object()) {
        if (value.is_string()) of_host.headers.emplace_back(name, value.get_string());
      }
    }
    if (!of_host.headers.empty()) all.push_back(std::move(of_host));
  }
  return all;
}

Result<std::vector<std::string>> secrets_in(std::string_view value) {
  constexpr std::string_view kOurs = "${e2b.";
  std::vector<std::string> names;
  for (size_t at = value.find(kOurs); at != value.npos; at = value.find(kOurs, at + 1)) {
    std::string_view rest = value.substr(at);
    size_t end = rest.find('}');
    if (!rest.starts_with(kSecretReference) || end == rest.npos) {
      return Error(ErrorCode::unsupported,
                   "of E2B's references only ${e2b.secrets.<name>} is supported by this server");
    }
    auto name = secret_name(rest.substr(kSecretReference.size(), end - kSecretReference.size()));
    if (!name) return Error(ErrorCode::invalid_argument, "no secret can have such a name");
    names.push_back(std::move(*name));
  }
  return names;
}

}  // namespace hako::api
