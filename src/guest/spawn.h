// Starting a program as some user, cheaply.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "guest/users.h"
#include "wire/process.h"

namespace hako::guest {

/// Everything about a program to be started. Descriptors are ours and stay ours.
struct SpawnPlan {
  std::string path;               ///< of the program file
  std::vector<std::string> argv;  ///< argv[0] included
  std::vector<std::string> env;   ///< "K=V"
  std::string cwd;
  User user;
  std::vector<gid_t> groups;
  int in = -1, out = -1, err = -1;
  bool terminal = false;    ///< `in` is a terminal: it becomes the controlling one
  bool change_user = true;  ///< false where we are not root
  bool reset_oom_score = false;
  int group = -1;  ///< folder of the control group it starts in; -1 for that of its starter
};

/// Starts it in a session of its own and returns its pid once exec has succeeded.
/// The memory of this process is lent to the child until then, not copied: copying page tables is
/// most of what fork(2) costs, above all under emulation.
/// Errors: not_found, permission_denied, invalid_argument, resource_exhausted; text says what
/// failed. Thread: always the same one.
Result<pid_t> spawn(const SpawnPlan& plan);

/// The file that `command` names: itself where it holds a slash (relative to `cwd`), else the first
/// executable of that name in `search_path`. invalid_argument "command 'x' not found".
Result<std::string> find_program(const std::string& command, std::string_view search_path,
                                 const std::string& cwd);

/// A new pseudoterminal; the terminal end belongs to `owner`.
struct Terminal {
  Fd master;  ///< non-blocking
  Fd slave;
};
Result<Terminal> open_terminal(const wire::PtySize& size, std::optional<uid_t> owner);
Result<void> resize_terminal(int master, const wire::PtySize& size);

}  // namespace hako::guest
