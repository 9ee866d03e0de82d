#include "api/template_names.h"

#include <algorithm>

namespace hako::api {
namespace {

constexpr size_t kLongestName = 128;
constexpr size_t kLongestTag = 128;
constexpr size_t kMostParts = 4;
constexpr std::string_view kPulled = "pulled/";

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

bool is_part(std::string_view part) {
  return !part.empty() && part.front() != '-' && part.front() != '.' &&
         std::all_of(part.begin(), part.end(), is_plain);
}

}  // namespace

Result<std::string> clean_template_name(std::string_view text) {
  Error wrong(ErrorCode::invalid_argument,
              "a template's name is made of a-z, 0-9, '-', '_' and '.', in up to four parts with "
              "'/' between them, 128 characters at most");
  std::string name(text);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  if (name.size() > kLongestName) return wrong;
  size_t parts = 0;
  for (std::string_view rest = name;; ++parts) {
    size_t end = std::min(rest.find('/'), rest.size());
    if (!is_part(rest.substr(0, end)) || parts == kMostParts) return wrong;
    if (end == rest.size()) return name;
    rest.remove_prefix(end + 1);
  }
}

Result<std::string> clean_tag(std::string_view text) {
  auto allowed = [](char c) { return is_plain(c) || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || text.size() > kLongestTag || !std::all_of(text.begin(), text.end(), allowed))
    return Error(ErrorCode::invalid_argument,
                 "a tag is made of letters, digits, '-', '_' and '.', 128 characters at most");
  return std::string(text);
}

Result<TemplateReference> parse_template_reference(std::string_view text) {
  TemplateReference reference;
  size_t colon = text.find(':');
  HAKO_TRY(reference.name, clean_template_name(text.substr(0, colon)));
  if (colon != std::string_view::npos) {
    HAKO_TRY(reference.tag, clean_tag(text.substr(colon + 1)));
  }
  return reference;
}

Result<std::vector<std::string>> join_tags(const std::optional<std::string>& own,
                                           const std::vector<std::string>& more) {
  std::vector<std::string> tags;
  if (own) tags.push_back(*own);
  for (const std::string& text : more) {
    HAKO_TRY(auto tag, clean_tag(text));
    if (std::find(tags.begin(), tags.end(), tag) == tags.end()) tags.push_back(std::move(tag));
  }
  if (tags.empty()) tags.emplace_back(kDefaultTag);
  return tags;
}

Result<TemplateReference> parse_image_reference(std::string_view text) {
  if (text.find('@') != std::string_view::npos)
    return Error(ErrorCode::invalid_argument, "an image is named by a tag here, not by a digest");
  for (std::string_view prefix : {"docker.io/", "index.docker.io/", "library/"})
    if (text.substr(0, prefix.size()) == prefix) text.remove_prefix(prefix.size());
  // A colon before a slash belongs to a registry's port, which no template name has.
  size_t slash = text.rfind('/');
  size_t start = slash == std::string_view::npos ? 0 : slash;
  size_t colon = text.find(':', start);
  std::string name(text.substr(0, colon));
  std::replace(name.begin(), name.end(), ':', '-');
  TemplateReference reference;
  HAKO_TRY(reference.name, clean_template_name(name));
  if (colon != std::string_view::npos) {
    HAKO_TRY(reference.tag, clean_tag(text.substr(colon + 1)));
  }
  return reference;
}

std::string pulled_name(std::string_view repository) {
  std::string_view last = repository.substr(repository.rfind('/') + 1);
  return std::string(kPulled) + std::string(last.substr(0, kLongestName - kPulled.size()));
}

std::string pulled_tag(std::string_view digest) {
  std::string tag(digest);
  std::replace(tag.begin(), tag.end(), ':', '-');
  return tag;
}

bool is_pulled_name(std::string_view name) {
  return name.starts_with(kPulled);
}

}  // namespace hako::api
