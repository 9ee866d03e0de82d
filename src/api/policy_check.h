// "Would this be allowed, and if not, why?" Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/egress_policy.h"

namespace hako::api {

/// A destination, and a sandbox: one that runs, or one as it would be created.
struct PolicyQuestion {
  policy::Destination destination;
  std::string box;  ///< empty: as it would be created
  /// With `box`: as if it had risen to it.
  policy::Label label = policy::Label::public_data;
  SandboxOptions options;  ///< without `box`
};

/// {label?, egress?, allow?, deny?, network?, allow_internet_access?, metadata?, box?,
/// destination: {name | address, port}}. invalid_argument names the field.
Result<PolicyQuestion> parse_question(std::string_view body);

/// `record`: of the sandbox that is asked about, if one is; `of_tenant`: the most that its tenant
/// leaves. What a new one's maker leaves is in the question's options. A link's name is answered as the gate
/// answers it. invalid_argument for a target that cannot be read.
Result<policy::Decision> answer_question(const policy::EgressPlatform& platform,
                                         const PolicyQuestion& question,
                                         const std::optional<store::SandboxRecord>& record,
                                         const EgressCeilings& of_tenant);

}  // namespace hako::api
