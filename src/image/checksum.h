// SHA-256 of text and of files.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::image {

/// As 64 lower-case hex digits.
std::string sha256_of_text(std::string_view text);

/// From where `fd` stands to the end of the file. Blocking: about a second per GiB.
/// Errors: those of read(2).
Result<std::string> sha256_of_file(int fd);

}  // namespace hako::image
