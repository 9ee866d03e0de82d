// Names and tags of templates. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hako::api {

inline constexpr std::string_view kDefaultTag = "default";

/// What a request calls a template: an id or a name, and a tag if it says one.
struct TemplateReference {
  std::string name;
  std::optional<std::string> tag;
};

/// [a-z0-9._-], in up to four parts with '/' between them; upper case becomes lower case.
/// invalid_argument.
Result<std::string> clean_template_name(std::string_view text);
/// [A-Za-z0-9._-], 1 to 128 of them. invalid_argument.
Result<std::string> clean_tag(std::string_view text);
/// "name", "ns/name", "id", each with ":tag" or without. invalid_argument.
Result<TemplateReference> parse_template_reference(std::string_view text);
/// Takes a name's own tag and more tags, without repeating any; `default` where there is none.
Result<std::vector<std::string>> join_tags(const std::optional<std::string>& own,
                                           const std::vector<std::string>& more);

/// The name under which an image's archive is imported: "docker.io/library/python:3" is "python:3".
/// Digests are not names: invalid_argument.
Result<TemplateReference> parse_image_reference(std::string_view text);

/// What the template of an image from a registry is called, and its tag. `repository` and `digest`
/// as ImageName has them.
std::string pulled_name(std::string_view repository);
std::string pulled_tag(std::string_view digest);
/// Whether only pulled images have this name.
bool is_pulled_name(std::string_view name);

}  // namespace hako::api
