// Checksums of sparse disk images.
#pragma once

#include <string>

#include "base/result.h"

namespace hako::image {

/// SHA-256 over the file's size and its data extents with their offsets, hex: quick for a large
/// sparse disk that holds little. Blocking.
/// A hole and zeros written out count as different: meant for files that nobody changes.
Result<std::string> checksum_sparse(const std::string& path);

/// Writes the checksum of `path` to `sum_path`.
Result<void> record_checksum(const std::string& path, const std::string& sum_path);
/// corrupted (naming `path`) if it does not match what was recorded.
Result<void> verify_checksum(const std::string& path, const std::string& sum_path);

}  // namespace hako::image
