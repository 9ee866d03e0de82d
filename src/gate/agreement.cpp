#include "gate/agreement.h"

#include <charconv>

#include "base/encoding.h"
#include "gate/walls.h"
#include "wire/client_hello.h"
#include "wire/http_start.h"

namespace hako::gate {
namespace {

using Kind = Opening::Kind;

constexpr size_t kLongestQuote = 100;

Opening refuse(std::string rule, std::string reason) {
  return {Kind::refused, std::move(rule), std::move(reason)};
}

std::string in_quotes(std::string_view text) {
  return "\"" + valid_utf8(std::string(text.substr(0, kLongestQuote))) + "\"";
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = lower(c);
  return result;
}

std::string who(const Expected& expected) {
  return expected.name.empty() ? "an address" : expected.name;
}

/// `said` is in lower case, without a dot at its end.
bool agrees(const std::string& said, const Expected& expected) {
  return expected.name.empty() ? expected.may_name(said) : said == expected.name;
}

Opening judge_hello(const wire::ClientHello& hello, const Expected& expected) {
  Opening agreed{Kind::agreed, {}, {}, hello.size};
  if (!stands(Wall::sni)) return agreed;
  if (hello.encrypted && !expected.may_hide)
    return refuse(kSniRule, "TLS with an encrypted hello hides which name it is for");
  if (hello.server_name.empty()) {
    if (expected.name.empty()) return agreed;
    return refuse(kSniRule, "TLS without a server name");
  }
  if (!agrees(hello.server_name, expected))
    return refuse(kSniRule, "TLS for " + in_quotes(hello.server_name) + " on a connection to " +
                                who(expected));
  return agreed;
}

std::span<const uint8_t> octets(std::string_view bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

/// A host with or without a port: the name in lower case without the last dot, if the port fits.
std::optional<std::string> host_of(std::string_view authority, uint16_t port) {
  size_t colon = authority.rfind(':');
  if (colon != authority.npos) {
    std::string_view digits = authority.substr(colon + 1);
    unsigned number = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number != port)
      return std::nullopt;
    authority = authority.substr(0, colon);
  }
  if (authority.ends_with('.')) authority.remove_suffix(1);
  return lower(authority);
}

/// Nothing for a target in origin form; empty for one that is neither that nor absolute.
std::optional<std::string_view> authority_of(std::string_view target) {
  if (target.starts_with('/') || target == "*") return std::nullopt;
  size_t scheme = target.find("://");
  if (scheme == target.npos) return std::string_view();
  std::string_view rest = target.substr(scheme + 3);
  return rest.substr(0, rest.find_first_of("/?#"));
}

}  // namespace

Opening judge_tls(std::string_view bytes, const Expected& expected) {
  auto hello = wire::read_client_hello(octets(bytes));
  switch (hello.state) {
    case wire::ClientHello::State::incomplete:
      if (bytes.size() < kLongestOpening) return {};
      return refuse(kSniRule, "the TLS client's first message is too long");
    case wire::ClientHello::State::no_tls:
      return refuse(kSniRule, "not TLS, on a port where only TLS passes");
    case wire::ClientHello::State::malformed:
      return refuse(kSniRule, "the TLS client's first message is malformed");
    case wire::ClientHello::State::whole:
      break;
  }
  return judge_hello(hello, expected);
}

Opening judge_opening(std::string_view bytes, const Expected& expected) {
  switch (wire::judge_start(octets(bytes))) {
    case wire::ConnectionStart::incomplete:
      return {};
    case wire::ConnectionStart::tls:
      return judge_tls(bytes, expected);
    case wire::ConnectionStart::other:
      return {Kind::other, {}, {}};
    case wire::ConnectionStart::http:
      break;
  }
  if (bytes.starts_with("PRI ") && stands(Wall::host_header))
    return refuse(kHostRule, "HTTP/2 without TLS: whom its requests are for cannot be seen");
  return {Kind::http, {}, {}};
}

Opening judge_second_hello(std::string_view bytes, const Expected& expected) {
  auto hello = wire::read_second_hello(octets(bytes));
  if (hello.state == wire::ClientHello::State::whole) return judge_hello(hello, expected);
  if (hello.state == wire::ClientHello::State::incomplete && bytes.size() < kLongestOpening)
    return {};
  return refuse(kSniRule, "what the TLS client says when it begins again is malformed");
}

std::optional<std::string> request_refusal(const http::RequestHead& head,
                                           const Expected& expected) {
  if (head.method == http::Verb::connect) return "CONNECT is not relayed";
  if (!stands(Wall::host_header)) return std::nullopt;
  size_t hosts = head.fields.count(http::Field::host);
  if (hosts != 1) return hosts == 0 ? "a request without Host" : "a request with several Hosts";
  auto wrong = [&](std::string_view authority) {
    auto host = host_of(authority, expected.port);
    return !host || !agrees(*host, expected);
  };
  std::string_view host = head.header("Host");
  auto authority = authority_of(head.target);
  if (!wrong(host) && !(authority && wrong(*authority))) return std::nullopt;
  return "a request for " + in_quotes(wrong(host) ? host : *authority) + " on a connection to " +
         who(expected);
}

}  // namespace hako::gate
