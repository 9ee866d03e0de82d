#include "api/image_name.h"

#include <algorithm>
#include <charconv>

#include "api/template_names.h"

namespace hako::api {
namespace {

constexpr size_t kLongestRegistry = 255;
constexpr size_t kLongestRepository = 255;
constexpr std::string_view kDigestKind = "sha256:";
constexpr size_t kDigestDigits = 64;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/// Lower-case letters, digits and `more` between them.
bool is_word(std::string_view text, std::string_view more) {
  return !text.empty() && is_alphanumeric(text.front()) && is_alphanumeric(text.back()) &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return is_alphanumeric(c) || more.find(c) != std::string_view::npos;
         });
}

bool is_port(std::string_view text) {
  int port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port > 0 && port <= 65535;
}

bool is_registry(std::string_view text) {
  if (text.size() > kLongestRegistry) return false;
  size_t colon = text.find(':');
  if (colon != std::string_view::npos && !is_port(text.substr(colon + 1))) return false;
  return is_word(text.substr(0, colon), ".-");
}

bool is_repository(std::string_view text) {
  if (text.size() > kLongestRepository) return false;
  for (;;) {
    size_t end = std::min(text.find('/'), text.size());
    if (!is_word(text.substr(0, end), "._-")) return false;
    if (end == text.size()) return true;
    text.remove_prefix(end + 1);
  }
}

/// Whether the part in front of the first slash is a registry.
bool names_registry(std::string_view part) {
  return part.find_first_of(".:") != std::string_view::npos || part == "localhost";
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return out;
}

}  // namespace

bool is_image_digest(std::string_view text) {
  if (!text.starts_with(kDigestKind) || text.size() != kDigestKind.size() + kDigestDigits)
    return false;
  text.remove_prefix(kDigestKind.size());
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string ImageName::text() const {
  return digest.empty() ? registry + "/" + repository + ":" + tag : text_at(digest);
}

std::string ImageName::text_at(std::string_view at) const {
  return registry + "/" + repository + "@" + std::string(at);
}

Result<ImageName> parse_image_name(std::string_view text) {
  Error wrong(ErrorCode::invalid_argument,
              "an image's name is REGISTRY/NAME:TAG, such as python:3.12 or "
              "registry.example:5000/team/app@sha256:...");
  ImageName name;
  size_t at = text.find('@');
  if (at != std::string_view::npos) {
    name.digest = std::string(text.substr(at + 1));
    if (!is_image_digest(name.digest)) return wrong;
    text = text.substr(0, at);
  }
  size_t slash = text.find('/');
  std::string_view first = text.substr(0, slash);
  bool given = slash != std::string_view::npos && names_registry(first);
  name.registry = given ? lower(first) : "docker.io";
  if (given) text.remove_prefix(slash + 1);
  if (name.registry == "index.docker.io") name.registry = "docker.io";
  // A colon belongs to the tag: that of a port went with the registry.
  size_t colon = text.find(':');
  name.repository = std::string(text.substr(0, colon));
  if (name.registry == "docker.io" && name.repository.find('/') == std::string::npos)
    name.repository = "library/" + name.repository;
  if (colon != std::string_view::npos) {
    auto tag = clean_tag(text.substr(colon + 1));
    if (!tag || tag.value().front() == '.' || tag.value().front() == '-') return wrong;
    name.tag = std::move(tag).value();
  } else if (name.digest.empty()) {
    name.tag = "latest";
  }
  if (!is_registry(name.registry) || !is_repository(name.repository)) return wrong;
  return name;
}

}  // namespace hako::api
