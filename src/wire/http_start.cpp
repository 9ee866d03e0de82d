#include "wire/http_start.h"

#include <algorithm>
#include <string_view>

#include "wire/client_hello.h"

namespace hako::wire {
namespace {

constexpr std::string_view kHttpVersion = "HTTP/";
/// How a target without a version behind it begins (HTTP/0.9).
constexpr std::string_view kTargetStarts[] = {"/", "*", "http://", "https://"};
constexpr std::string_view kProxy = "PROXY";
constexpr std::string_view kBinaryProxy("\r\n\r\n\0\r\nQUIT\n", 12);

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

bool same_letter(char a, char b) {
  return upper(a) == upper(b);
}

bool begins_with(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), same_letter);
}

bool has_part(std::string_view text, std::string_view part) {
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same_letter) !=
         text.end();
}

bool is_letter(char c) {
  return upper(c) >= 'A' && upper(c) <= 'Z';
}

/// RFC 9110, 5.6.2.
bool is_token_character(char c) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return is_letter(c) || (c >= '0' && c <= '9') || kMarks.find(c) != kMarks.npos;
}

/// What servers have been seen to take for the space in a request line: RFC 9112, section 3, and
/// the white space of ASCII and Latin-1 as Python splits lines at it.
bool is_blank(char c) {
  auto byte = static_cast<uint8_t>(c);
  return byte == ' ' || (byte >= 0x09 && byte <= 0x0d && byte != '\n') ||
         (byte >= 0x1c && byte <= 0x1f) || byte == 0x85 || byte == 0xa0;
}

/// A method without a version is good for little but GET; others have letters, too, at least.
bool is_plain_method(std::string_view method) {
  return std::all_of(method.begin(), method.end(),
                     [](char c) { return is_letter(c) || c == '-' || c == '_'; });
}

ConnectionStart judge_line(std::string_view text, bool at_limit) {
  using enum ConnectionStart;
  size_t method_end = 0;
  while (method_end < text.size() && is_token_character(text[method_end])) ++method_end;
  auto method = text.substr(0, method_end);
  // There are servers that put no limit to a method.
  if (method_end == text.size()) return at_limit ? http : incomplete;
  if (method.empty() || !is_blank(text[method_end])) return other;
  if (begins_with(method, kProxy) && method.size() == kProxy.size()) return http;

  size_t target_at = method_end;
  while (target_at < text.size() && is_blank(text[target_at])) ++target_at;
  size_t line_end = std::min(text.find('\n'), text.size());
  size_t zero = std::min(text.find('\0'), text.size());
  auto line = text.substr(method_end, std::min(line_end, zero) - method_end);
  if (has_part(line, kHttpVersion)) return http;
  auto target = text.substr(target_at);
  bool plain = is_plain_method(method);
  for (auto start : kTargetStarts)
    if (plain && begins_with(target, start)) return http;
  // A zero is in no request line.
  if (line_end < text.size() || zero < text.size()) return other;
  return at_limit ? http : incomplete;
}

}  // namespace

ConnectionStart judge_start(std::span<const uint8_t> bytes) {
  using enum ConnectionStart;
  bytes = bytes.first(std::min(bytes.size(), kLongestStart));
  bool at_limit = bytes.size() == kLongestStart;
  if (bytes.empty()) return incomplete;
  constexpr uint8_t kHandshake = 22;
  if (bytes[0] == kHandshake) return tls;
  switch (read_client_hello(bytes).state) {
    case ClientHello::State::incomplete:
      return incomplete;
    case ClientHello::State::malformed:
    case ClientHello::State::whole:
      return tls;
    case ClientHello::State::no_tls:
      break;
  }
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (begins_with(text, kBinaryProxy)) return http;
  if (text.size() < kBinaryProxy.size() && kBinaryProxy.starts_with(text)) return incomplete;
  size_t start = 0;
  while (start < text.size() && (is_blank(text[start]) || text[start] == '\n')) ++start;
  if (start == text.size()) return at_limit ? http : incomplete;
  return judge_line(text.substr(start), at_limit);
}

}  // namespace hako::wire
