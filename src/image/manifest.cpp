#include "image/manifest.h"

#include <algorithm>
#include <boost/json.hpp>

namespace hako::image {

namespace json = boost::json;

namespace {

constexpr size_t kMaxText = 128;

Error wrong(std::string_view member, std::string_view expected) {
  return Error(ErrorCode::corrupted,
               "manifest.json: \"" + std::string(member) + "\" should be " + std::string(expected));
}

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxText && name.front() != '.' &&
         std::ranges::all_of(name, [](unsigned char c) { return c > ' ' && c < 127 && c != '/'; });
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Result<std::string> text_member(const json::object& object, std::string_view member) {
  const json::value* value = object.if_contains(member);
  const json::string* text = value ? value->if_string() : nullptr;
  if (!text || text->empty() || text->size() > kMaxText)
    return wrong(member, "a short piece of text");
  return std::string(text->data(), text->size());
}

Result<FileEntry> file_entry(std::string_view name, const json::value& value) {
  const json::object* object = value.if_object();
  if (!object) return wrong(name, "an object");
  const json::value* size = object->if_contains("size");
  boost::system::error_code not_a_size;
  uint64_t bytes = size ? size->to_number<uint64_t>(not_a_size) : 0;
  if (!size || not_a_size) return wrong(name, "an object with a \"size\"");
  HAKO_TRY(auto sha256, text_member(*object, "sha256"));
  if (!is_sha256(sha256)) return wrong(name, "an object with a \"sha256\" of 64 hex digits");
  return FileEntry{.size = bytes, .sha256 = std::move(sha256)};
}

Result<std::string> file_member(const json::object& object, std::string_view member,
                                const Manifest& manifest) {
  HAKO_TRY(auto name, text_member(object, member));
  if (!manifest.files.contains(name)) return wrong(member, "one of \"files\"");
  return name;
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text) {
  boost::system::error_code error;
  json::value document = json::parse(text, error);
  const json::object* object = error ? nullptr : document.if_object();
  if (!object) return Error(ErrorCode::corrupted, "manifest.json is not a JSON object");

  Manifest manifest;
  const json::value* files = object->if_contains("files");
  if (!files || !files->is_object()) return wrong("files", "an object");
  for (const auto& [key, value] : files->get_object()) {
    std::string name(key);
    if (!is_plain_file_name(name)) return wrong("files", "named without folders");
    HAKO_TRY(auto entry, file_entry(name, value));
    manifest.files.emplace(std::move(name), std::move(entry));
  }
  HAKO_TRY(manifest.name, text_member(*object, "name"));
  HAKO_TRY(manifest.kernel_version, text_member(*object, "kernel_version"));
  HAKO_TRY(manifest.kernel, file_member(*object, "kernel", manifest));
  HAKO_TRY(manifest.initrd, file_member(*object, "initrd", manifest));
  HAKO_TRY(manifest.rootfs, file_member(*object, "rootfs", manifest));
  return manifest;
}

}  // namespace hako::image
