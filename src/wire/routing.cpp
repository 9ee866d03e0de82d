#include "wire/routing.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "base/encoding.h"

namespace hako::wire {
namespace {

constexpr size_t kLongestId = 63;
constexpr size_t kLongestHost = 255;

/// Ours, and those of E2B's daemon.
constexpr std::array<std::string_view, 8> kInternalPaths{
    "/init", "/freeze", "/thaw", "/unfreeze", "/collapse", "/fsfreeze", "/fsthaw", "/upgrade"};

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::optional<uint16_t> parse_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return std::nullopt;
  uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

/// An id, with what older clients append behind a dash cut off.
std::optional<std::string> parse_id(std::string_view text) {
  text = text.substr(0, text.find('-'));
  if (text.empty() || text.size() > kLongestId) return std::nullopt;
  bool plain = std::all_of(text.begin(), text.end(),
                           [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
  if (!plain) return std::nullopt;
  return std::string(text);
}

bool starts_with(std::string_view path, std::string_view prefix) {
  return path.substr(0, prefix.size()) == prefix;
}

}  // namespace

std::optional<BoxPort> parse_box_host(std::string_view host) {
  if (host.size() > kLongestHost) return std::nullopt;
  size_t dot = host.find('.');
  if (dot == std::string_view::npos || dot + 1 == host.size()) return std::nullopt;
  std::string label = lower(host.substr(0, dot));
  size_t dash = label.find('-');
  if (dash == std::string::npos) return std::nullopt;
  auto port = parse_port(std::string_view(label).substr(0, dash));
  auto id = parse_id(std::string_view(label).substr(dash + 1));
  if (!port || !id) return std::nullopt;
  return BoxPort{std::move(*id), *port};
}

Route route_of(const RoutingFacts& facts) {
  if (auto target = parse_box_host(facts.host)) return {Route::Kind::box, std::move(*target)};
  if (facts.sandbox_id.empty()) {
    // A port without a box is a client that lost half of what it had to say.
    if (facts.sandbox_port.empty()) return {};
    return {Route::Kind::malformed, {}};
  }
  auto id = parse_id(facts.sandbox_id);
  auto port =
      facts.sandbox_port.empty() ? std::optional(kDaemonPort) : parse_port(facts.sandbox_port);
  if (!id || !port) return {Route::Kind::malformed, {}};
  return {Route::Kind::box, {std::move(*id), *port}};
}

bool is_data_plane(const RoutingFacts& facts) {
  if (route_of(facts).kind != Route::Kind::unrouted) return true;
  std::string_view path = facts.path;
  return path == "/files" || starts_with(path, "/files/") || path == "/envs" ||
         path == "/metrics" || starts_with(path, "/process.Process/") ||
         starts_with(path, "/filesystem.Filesystem/");
}

std::optional<std::string> origin_form(std::string_view target) {
  if (target == "*") return std::string(target);
  if (starts_with(target, "/")) return std::string(target);
  for (std::string_view scheme : {"http://", "https://"}) {
    if (lower(target.substr(0, scheme.size())) != scheme) continue;
    std::string_view rest = target.substr(scheme.size());
    size_t end = rest.find_first_of("/?");
    if (end == std::string_view::npos) return std::string("/");
    std::string path(rest.substr(end));
    return path.front() == '/' ? path : "/" + path;
  }
  return std::nullopt;
}

bool is_internal_path(std::string_view path) {
  // However often it was encoded: a server behind us may decode once more than one expects.
  std::string plain(path);
  for (int round = 0; round < 4; ++round) {
    auto decoded = percent_decode(plain, false);
    if (!decoded || *decoded == plain) break;
    plain = std::move(*decoded);
  }
  std::vector<std::string> segments;
  std::string segment;
  auto close_segment = [&] {
    if (segment == "..") {
      if (!segments.empty()) segments.pop_back();
    } else if (!segment.empty() && segment != ".") {
      segments.push_back(segment);
    }
    segment.clear();
  };
  for (char c : plain) {
    if (c == '/' || c == '\\') {
      close_segment();
    } else if (c == '?' || c == '#' || c == ';' || c == '\0') {
      break;
    } else {
      segment += c;
    }
  }
  close_segment();
  if (segments.empty()) return false;
  std::string first = "/" + lower(segments.front());
  return std::find(kInternalPaths.begin(), kInternalPaths.end(), first) != kInternalPaths.end();
}

}  // namespace hako::wire
