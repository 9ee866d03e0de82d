// From what is known of a sandbox to the policy for what goes out of it, and how that is shown.
// Pure.
#pragma once

#include <boost/json.hpp>

#include <string>
#include <string_view>
#include <vector>

#include "api/principal.h"
#include "api/sandbox_options.h"
#include "policy/egress_plan.h"
#include "store/store.h"

namespace hako::api {

/// The policy of a new request, denied if it asks for what its label, the operator, the tenant or
/// the caller's key or token (in `options`) forbids. invalid_argument for a target that cannot be
/// read.
Result<policy::EgressPlan> plan_sandbox(const policy::EgressPlatform& platform, policy::Label label,
                                        const SandboxOptions& options,
                                        const EgressCeilings& of_tenant);

/// The policy of a request that was granted once: what they forbid by now is left out of it. A
/// request that cannot be read, or that cannot be honoured as records of earlier versions with a
/// proxy, gets nothing.
policy::EgressPolicy capped_policy(const policy::EgressPlatform& platform, policy::Label label,
                                   const SandboxOptions& options, const EgressCeilings& of_tenant);

/// Adds the links that lead from the sandbox `id`.
void add_links(policy::EgressPolicy& policy, const std::string& id,
               const std::vector<store::LinkRecord>& links);

/// What all layers together leave.
policy::EgressLevel level_of(const policy::EgressPolicy& policy);

/// A policy as the store has it, and back. What cannot be read lets nothing out.
std::string write_policy(const policy::EgressPolicy& policy);
policy::EgressPolicy read_policy(std::string_view stored);

/// {level, layers: [{name, level, allow, deny}], links: [{name, sandboxID, port}]}, for its owner.
boost::json::object shown_egress(const policy::EgressPolicy& policy);

/// "<reason>; <remedy> (rule <rule>)".
std::string with_rule(const policy::Decision& decision);
/// A refusal by policy: permission_denied with these words.
Error refused_by(const policy::Decision& decision);
/// {allowed, rule, reason, remedy}.
boost::json::object decision_json(const policy::Decision& decision);

}  // namespace hako::api
