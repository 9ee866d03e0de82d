// Cloning a repository in a box.
#pragma once

#include <string>

#include "cli/agents.h"
#include "cli/box.h"

namespace hako::cli {

/// Clones `repository` into the box, in the user's home, and says which folder to work in. A secret of
/// the box for that host, where there is one, is what git logs in with; the box has its placeholder
/// only. What git says goes to standard error.
/// Errors: failed_precondition, git has failed; those of Session::run().
Task<Result<std::string>> clone_in_box(Api& api, BoxAccess box, std::string user,
                                       Repository repository);

}  // namespace hako::cli
