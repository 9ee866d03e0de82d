// Checksums of sparse disk images.
#pragma once

#include <string>

#include "base/result.h"

namespace hako::image {

/// SHA-256, hex, over the file's size and those of its blocks (4 KiB) that are not all zeros, with
/// their offsets: quick for a large sparse disk that holds little, and the same for a copy that has
/// holes elsewhere. Blocking.
Result<std::string> checksum_sparse(const std::string& path);

/// Writes the checksum of `path` to `sum_path`.
Result<void> record_checksum(const std::string& path, const std::string& sum_path);
/// corrupted (naming `path`) if it does not match what was recorded.
Result<void> verify_checksum(const std::string& path, const std::string& sum_path);

}  // namespace hako::image
