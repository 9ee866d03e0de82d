// GET /files: the content of one file, whole, compressed or in part.
#pragma once

#include <string>

#include "guest/context.h"

namespace hako::guest {

/// Answers the request with the file at `path`, which is absolute.
Task<void> download(Context& context, http::Exchange& exchange, const std::string& path);

}  // namespace hako::guest
