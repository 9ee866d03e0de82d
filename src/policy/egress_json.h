// A box's policy as the node keeps it and the gate gets it.
#pragma once

#include <boost/json.hpp>

#include "policy/egress.h"

namespace hako::policy {

boost::json::object to_json(const EgressPolicy& policy);
/// The inverse, for a hostile reader: invalid_argument names the member. At most 128 layers, 2048
/// targets in each list, 64 links, 128 hosts to intercept with 16 ports each. Members may be missing, then they are as in an empty policy;
/// unknown ones are errors, as they may be restrictions.
Result<EgressPolicy> parse_egress(const boost::json::object& fields);

}  // namespace hako::policy
