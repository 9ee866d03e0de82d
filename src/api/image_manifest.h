// What a registry says an image consists of. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::api {

/// An image of its own, or a list in which there is one for this machine.
struct ImageManifest {
  std::string follow;  ///< a list: the digest of the image for linux/amd64
  size_t layers = 0;
  int64_t bytes = 0;  ///< of all layers as they are sent; only what the registry says
};

/// Reads OCI's and Docker's manifests and lists of them; hostile input. Of other kinds nothing is
/// known, which is no error. corrupted; not_found where a list has no image for linux/amd64.
Result<ImageManifest> parse_image_manifest(std::string_view text);

}  // namespace hako::api
