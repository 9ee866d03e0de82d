// Holds what the API answers to its own description.
#pragma once

#include <boost/json.hpp>

#include <string>

#include "http/message.h"

namespace hako::test {

/// What is wrong with an answer, by openapi/hako.json; empty if nothing is. Members that the
/// document does not name are wrong, and so is a status that it does not name, but for those that
/// any call may give (401, 404 for no such path, 408, 413, 431 and from 500 on), which must be
/// errors as it describes them. `path` without its query.
std::string disagreement(http::Verb method, std::string_view path, unsigned status,
                         const boost::json::value& body);

}  // namespace hako::test
