// What registries say of images, and names of images as any holder of a key may send them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/image_manifest.h"
#include "api/image_name.h"
#include "api/template_names.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes looked at as text.
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto manifest = hako::api::parse_image_manifest(text)) {
    require(manifest.value().bytes >= 0);
    const auto& follow = manifest.value().follow;
    require(follow.empty() || hako::api::is_image_digest(follow));
  }
  if (auto name = hako::api::parse_image_name(text)) {
    std::string whole = name.value().text();
    // It stands in a command line and in a URL.
    require(whole.front() != '-' && whole.find_first_of(" \t\n\\?#%\"'$") == std::string::npos);
    require(whole.find("..") == std::string::npos || whole.find("/../") == std::string::npos);
    auto again = hako::api::parse_image_name(whole);
    require(again && again.value().text() == whole);
    auto pulled = hako::api::pulled_name(name.value().repository);
    require(bool(hako::api::clean_template_name(pulled)));
  }
  return 0;
}
