// The most that a tenant, a key and a token leave of what goes out of sandboxes. Pure.
#pragma once

#include <boost/json.hpp>

#include <string>

#include "policy/egress_plan.h"
#include "policy/permission.h"

namespace hako::api {

using policy::EgressCeilings;

/// Of whom: tenants change their mind for all that they have, so theirs is looked up each time. What
/// a key or a token leaves is that which it left when it was used.
enum class CeilingsOf { tenant, caller };
EgressCeilings ceilings_of(const policy::Permission& permission, CeilingsOf whom);
EgressCeilings ceilings_of_tenant(const std::string& tenant, const policy::Narrowing& policy);
/// Of one that is not there, or cannot be read: nothing goes out.
EgressCeilings ceilings_of_unknown(const std::string& tenant);

/// What both leave.
EgressCeilings both(EgressCeilings a, const EgressCeilings& b);

boost::json::object to_json(const EgressCeilings& ceilings);
/// The inverse. What cannot be read leaves nothing.
EgressCeilings parse_ceilings(const boost::json::value& stored);

}  // namespace hako::api
