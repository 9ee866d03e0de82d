#include "api/image_manifest.h"

#include "api/field_reader.h"
#include "api/image_name.h"

namespace hako::api {
namespace json = boost::json;
namespace {

constexpr size_t kLongestManifestWord = 256;
/// Sums of so many of these do not overflow: a manifest of 8 MiB holds fewer than 2^20 layers.
constexpr int64_t kLargestLayer = int64_t(1) << 42;

Result<ImageManifest> find_ours(const json::array& list) {
  for (const json::value& each : list) {
    const json::object* entry = each.if_object();
    if (!entry) continue;
    FieldReader reader(*entry);
    std::string digest = reader.text("digest", kLongestManifestWord).value_or("");
    const json::object* platform = reader.object("platform");
    if (!platform || !is_image_digest(digest)) continue;
    FieldReader inner(*platform);
    if (inner.text("os", kLongestManifestWord) != "linux") continue;
    if (inner.text("architecture", kLongestManifestWord) != "amd64") continue;
    ImageManifest manifest;
    manifest.follow = std::move(digest);
    return manifest;
  }
  return Error(ErrorCode::not_found, "the image is not made for linux/amd64");
}

}  // namespace

Result<ImageManifest> parse_image_manifest(std::string_view text) {
  auto object = parse_body(text);
  if (!object)
    return Error(ErrorCode::corrupted, "the registry's description of the image is no JSON object");
  FieldReader reader(object.value());
  if (const json::array* list = reader.array("manifests")) return find_ours(*list);
  ImageManifest manifest;
  const json::array* layers = reader.array("layers");
  if (!layers) return manifest;
  manifest.layers = layers->size();
  for (const json::value& each : *layers) {
    const json::object* layer = each.if_object();
    if (!layer) return Error(ErrorCode::corrupted, "the registry describes a layer wrongly");
    FieldReader inner(*layer);
    auto size = inner.number("size", 0, kLargestLayer);
    if (!size) return Error(ErrorCode::corrupted, "the registry does not say how big a layer is");
    manifest.bytes += *size;
  }
  return manifest;
}

}  // namespace hako::api
