// The walls around a VMM, one by one: so that a test can leave one out and see that it was needed.
#pragma once

#include <initializer_list>

#include "jail/jail.h"

namespace hako::jail {

enum class Wall {
  share,         ///< its control groups
  network,       ///< joins the empty network namespace
  namespaces,    ///< ipc and uts of its own
  root,          ///< sees /usr and its own processes only
  limits,        ///< core dumps, descriptors, threads
  user,          ///< uid, gid and groups
  capabilities,  ///< bounding, inheritable, permitted, effective
  no_new_privs,
};

/// launch_vmm() without the steps of `left_out`. For tests.
Result<Process> launch_vmm_without(std::initializer_list<Wall> left_out,
                                   asio::any_io_executor executor, const ProcessSpec& spec,
                                   const VmmJail& jail);

}  // namespace hako::jail
