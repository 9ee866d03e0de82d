// Narrowings as JSON: tenants' policies, keys, requests for tokens. Pure.
#pragma once

#include <boost/json.hpp>

#include "base/result.h"
#include "policy/permission.h"

namespace hako::policy {

/// {tenant?, agent?, sandboxes?: [id], templates?: [name], actions?: [word], label?, egress?: {level?,
/// allow?: [target], deny?: [target]}, memoryMB?, cpuCount?, timeout? (s), boxes?, egressBytes?,
/// expires? (RFC 3339)}. An egress without a level is its list, or all but what it denies.
/// invalid_argument names the member, unknown ones included.
Result<Narrowing> narrowing_from(const boost::json::object& object);
/// The object from which narrowing_from() makes the same.
boost::json::object to_json(const Narrowing& narrowing);

}  // namespace hako::policy
