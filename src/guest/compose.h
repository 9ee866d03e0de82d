// POST /files/compose: several files put together into one.
#pragma once

#include <string>

#include "guest/context.h"

namespace hako::guest {

/// Does what the request's JSON body asks for: {"source_paths":[...],"destination","username"?}.
/// The destination appears whole or not at all; then the sources are removed.
/// {"path","name","type"} of the destination. Errors: invalid_argument, not_found, unauthenticated
/// (unknown user), no_space, too_large (the body).
Task<Result<std::string>> compose_files(Context& context, http::Exchange& exchange);

}  // namespace hako::guest
