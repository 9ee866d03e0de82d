#include "policy/registries.h"

#include <algorithm>
#include <charconv>

#include "policy/listen.h"

namespace hako::policy {
namespace {

constexpr uint16_t kHttps = 443, kHttp = 80;
constexpr std::string_view kDockerHub = "docker.io";
/// What Docker asks those behind a firewall to allow for its registry.
constexpr const char* kDockerHubHosts[] = {"registry-1.docker.io", "auth.docker.io",
                                           "production.cloudflare.docker.com",
                                           "production.cloudfront.docker.com",
                                           ("docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56"
                                            ".r2.cloudflarestorage.com")};

struct Endpoint {
  std::string_view host;
  uint16_t port = 0;  ///< 0: none given
};

Endpoint take_apart(std::string_view text) {
  Endpoint endpoint;
  size_t colon = text.find(':');
  endpoint.host = text.substr(0, colon);
  if (colon == std::string_view::npos) return endpoint;
  std::from_chars(text.data() + colon + 1, text.data() + text.size(), endpoint.port);
  return endpoint;
}

bool lists(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

bool host_fits(std::string_view pattern, std::string_view host) {
  if (!pattern.starts_with("*.")) return pattern == host;
  return host.size() >= pattern.size() && host.front() != '.' && host.ends_with(pattern.substr(1));
}

bool fits(std::string_view entry, bool insecure, std::string_view host, uint16_t port) {
  Endpoint listed = take_apart(entry);
  if (!host_fits(listed.host, host)) return false;
  if (listed.port != 0) return listed.port == port;
  return port == kHttps || (insecure && port == kHttp);
}

bool any_fits(const std::vector<std::string>& list, bool insecure, std::string_view host,
              uint16_t port) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& entry) {
    if (entry != kDockerHub) return fits(entry, insecure, host, port);
    return std::any_of(std::begin(kDockerHubHosts), std::end(kDockerHubHosts),
                       [&](const char* of_hub) { return fits(of_hub, insecure, host, port); });
  });
}

}  // namespace

Decision may_pull(std::string_view registry, const RegistryLists& given) {
  std::string shown(registry.substr(0, 256));
  if (lists(given.registries, registry) || lists(given.insecure, registry))
    return Decision::allow("registries.listed", "the operator lists " + shown);
  return Decision::deny("registries.listed", "images may not be pulled from " + shown + " here",
                        "have the operator add \"" + shown + "\" to [template] registries");
}

bool may_be_insecure(std::string_view registry, const RegistryLists& given) {
  return lists(given.insecure, registry);
}

Decision may_reach(std::string_view host, uint16_t port, const RegistryLists& given) {
  std::string name(host.substr(0, 256));
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  std::string shown = name + ":" + std::to_string(port);
  if (any_fits(given.registries, false, name, port) || any_fits(given.insecure, true, name, port) ||
      any_fits(given.hosts, false, name, port))
    return Decision::allow("registries.reach", "the operator lists " + shown);
  return Decision::deny("registries.reach", "a pull may not go to " + shown,
                        "if it should, have the operator add it to [template] registry_hosts");
}

std::vector<LoopbackEndpoint> loopback_endpoints(const RegistryLists& given) {
  std::vector<LoopbackEndpoint> found;
  auto add = [&](std::string_view entry, bool insecure) {
    Endpoint listed = take_apart(entry);
    bool local = listed.host == "localhost";
    if (!local && !is_loopback(listed.host)) return;
    std::string address(local ? "127.0.0.1" : listed.host);
    std::vector<uint16_t> ports = {listed.port};
    if (listed.port == 0) ports = {kHttps};
    if (listed.port == 0 && insecure) ports.push_back(kHttp);
    for (uint16_t port : ports) {
      LoopbackEndpoint endpoint{address, port};
      if (std::find(found.begin(), found.end(), endpoint) == found.end())
        found.push_back(std::move(endpoint));
    }
  };
  for (const auto& entry : given.registries) add(entry, false);
  for (const auto& entry : given.insecure) add(entry, true);
  for (const auto& entry : given.hosts) add(entry, false);
  return found;
}

}  // namespace hako::policy
