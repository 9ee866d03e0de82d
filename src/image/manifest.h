// manifest.json: what an image consists of. Pure parsing; no file is touched.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::image {

struct FileEntry {
  uint64_t size = 0;
  std::string sha256;  ///< 64 lower-case hex digits
};

struct Manifest {
  std::string name;
  std::string kernel;  ///< plain file names, each a key of `files`
  std::string initrd;
  std::string rootfs;
  std::string kernel_version;
  std::map<std::string, FileEntry> files;
};

/// Errors: corrupted, naming the member that is missing or wrong. A file name with a slash, or one
/// that starts with a dot, is wrong: an image never points out of its own folder.
Result<Manifest> parse_manifest(std::string_view text);

}  // namespace hako::image
