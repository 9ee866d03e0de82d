// What users are told about failures that are not theirs.
#pragma once

#include <string_view>

#include "base/error.h"

namespace hako::api {

/// What a user is told about a failed call to the node or the store: texts that the node meant for
/// users pass, all else is logged under `what` and replaced; a reference in the text of an internal
/// error leads to the line in the log.
Error error_for_user(const Error& error, std::string_view what);

}  // namespace hako::api
