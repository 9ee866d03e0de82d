// A repository that is cloned into a new box before its command runs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/api.h"
#include "cli/options.h"

namespace hako::cli {

struct Repository {
  std::string url;
  std::string host;
  uint16_t port = 443;
  std::string folder;  ///< what git makes of the url, in the home of the box's user

  /// As a rule for what goes out: "git.example:443".
  std::string target() const { return host + ":" + std::to_string(port); }
};

/// "https://host[:port]/path/name[.git]". Pure. invalid_argument for anything else: also for one that
/// holds a password, which would be in the box, and for plain http.
Result<Repository> parse_repository(std::string_view url);

/// The box for it: it reaches the repository's host alone, and its label is nobody's until the clone
/// is there. `secret`: the one that git shows; or none.
BoxOptions box_for_clone(BoxOptions box, const Repository& repository, const std::string& secret);

/// Clones it in the box. `placeholder`: what git sends for the password, as `user`; empty: it sends
/// none.
CommandOptions clone_command(const CommandOptions& options, const Repository& repository,
                             const std::string& user, const std::string& placeholder);

/// What git sends for the secret in this box.
struct GitLogin {
  std::string user, placeholder;
};
/// not_found, permission_denied with the API's reason.
Task<Result<GitLogin>> find_git_login(Api& api, std::string box, std::string secret);

/// After the clone: first the label, which closes what it closes, then what was asked to go out beside
/// the repository's host.
Task<Result<void>> close_behind_clone(Api& api, std::string box, Confinement wanted,
                                      Repository repository);

}  // namespace hako::cli
