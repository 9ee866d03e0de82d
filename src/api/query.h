// Numbers in the query of a request.
#pragma once

#include <optional>
#include <string_view>

#include "http/message.h"

namespace hako::api {

/// A whole number of query parameter `name` from 0 to `most`; nothing if it is absent or empty.
/// invalid_argument names the parameter.
Result<std::optional<int64_t>> query_number(const http::RequestHead& head, std::string_view name,
                                            int64_t most);

}  // namespace hako::api
