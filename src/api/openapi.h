// The document that describes this API.
#pragma once

#include <string>

namespace hako::api {

/// openapi/hako.json, as it was when this was built.
std::string openapi_document();

}  // namespace hako::api
