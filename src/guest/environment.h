// The environment and working directory a program starts with.
#pragma once

#include <string>
#include <vector>

#include "guest/identity.h"
#include "guest/users.h"
#include "wire/process.h"

namespace hako::guest {

/// Where programs are looked for unless the request or the box says otherwise.
inline constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct ProgramEnvironment {
  std::vector<std::string> variables;  ///< "K=V", each name once
  std::string search_path;             ///< the PATH among them
};

/// From the weakest to the strongest: PATH and the user's own, where the machine's own authority is,
/// the box's, the request's.
ProgramEnvironment build_environment(const User& user, const Identity& identity,
                                     const wire::Environment& requested);

}  // namespace hako::guest
