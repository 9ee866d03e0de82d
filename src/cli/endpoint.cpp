#include "cli/endpoint.h"

#include <charconv>

namespace hako::cli {
namespace {

Error malformed(std::string_view url, std::string_view why) {
  return Error(ErrorCode::invalid_argument,
               "'" + std::string(url) + "' is not an address of an API (" + std::string(why) +
                   "): write it like https://api.example.com or http://127.0.0.1:3000");
}

uint16_t usual_port(bool secure) {
  return secure ? 443 : 80;
}

}  // namespace

bool Endpoint::is_loopback() const {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::string Endpoint::authority() const {
  bool v6 = host.find(':') != std::string::npos;
  std::string text = v6 ? "[" + host + "]" : host;
  return port == usual_port(secure) ? text : text + ":" + std::to_string(port);
}

Result<Endpoint> parse_endpoint(std::string_view url) {
  constexpr std::string_view kPlain = "http://", kSecure = "https://";
  Endpoint endpoint;
  endpoint.secure = url.starts_with(kSecure);
  if (!endpoint.secure && !url.starts_with(kPlain))
    return malformed(url, "it begins with neither https:// nor http://");
  std::string_view scheme = endpoint.secure ? kSecure : kPlain;
  endpoint.port = usual_port(endpoint.secure);
  for (char c : url)
    if (c <= ' ' || c == 0x7f || c == '@' || c == '?' || c == '#')
      return malformed(url, "unexpected character");
  std::string_view rest = url.substr(scheme.size());
  size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  std::string_view prefix = slash == std::string_view::npos ? "" : rest.substr(slash);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);

  std::string_view port;
  if (authority.starts_with('[')) {
    size_t close = authority.find(']');
    if (close == std::string_view::npos) return malformed(url, "no closing ]");
    endpoint.host = authority.substr(1, close - 1);
    std::string_view behind = authority.substr(close + 1);
    if (!behind.empty() && behind.front() != ':') return malformed(url, "no port behind ]");
    if (!behind.empty()) port = behind.substr(1);
    if (!behind.empty() && port.empty()) return malformed(url, "no port behind :");
  } else {
    size_t colon = authority.find(':');
    endpoint.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) {
      port = authority.substr(colon + 1);
      if (port.empty()) return malformed(url, "no port behind :");
    }
  }
  if (endpoint.host.empty()) return malformed(url, "no host");
  if (!port.empty()) {
    auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
    if (failed != std::errc{} || end != port.data() + port.size() || endpoint.port == 0)
      return malformed(url, "no port number");
  }
  endpoint.prefix = prefix;
  endpoint.url = std::string(scheme) + std::string(authority) + std::string(prefix);
  return endpoint;
}

}  // namespace hako::cli
