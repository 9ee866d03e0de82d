// The second stage of choosing KVM: a real guest.
#pragma once

#include "node/templates.h"

namespace hako::node {

/// Boots `template_name` (or takes its snapshot), restores a clone of it and gives that an
/// identity, as any box does; then ends it. ok when the guest answered.
/// Errors: unavailable (no gate is there to ask the guest: says nothing about KVM), or what failed.
Task<Result<void>> run_trial_guest(Context& context, Templates& templates,
                                   std::string template_name);

}  // namespace hako::node
