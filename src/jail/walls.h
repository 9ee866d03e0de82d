// The walls around a VMM, one by one: so that a test can leave one out and see that it was needed.
#pragma once

#include <set>

#include "jail/jail.h"

namespace hako::jail {

enum class Wall {
  processes,   ///< the only process of its pid namespace
  network,     ///< joins the empty network namespace
  namespaces,  ///< ipc and uts of its own
  root,        ///< sees its program's files and its own process only
  limits,      ///< core dumps, descriptors, threads, sizes of files
  user,        ///< uid, gid and groups
  user_namespace,
  capabilities,  ///< bounding, inheritable, permitted, effective
  no_new_privs,
  filter,  ///< system calls
};

/// launch_vmm() without the steps of `left_out`. For tests.
Result<Process> launch_vmm_without(const std::set<Wall>& left_out, asio::any_io_executor executor,
                                   const ProcessSpec& spec, const VmmJail& jail);

}  // namespace hako::jail
