// The second wall: what a process may still do when what it runs has been taken over.
#pragma once

#include "base/process.h"

namespace hako::jail {

/// What a VMM gets. Each is one step of enter(), applied in the order of jail.cpp.
struct VmmJail {
  uid_t uid = 0;        ///< of this machine alone; never 0
  gid_t gid = 0;
  int netns = -1;       ///< an empty network namespace to join
};

/// Starts a VMM: joins the empty network namespace; new ipc and uts namespaces; no core dumps, no
/// new files over a bound; uid and gid dropped for good; no_new_privs; no capabilities.
/// (QEMU adds its own seccomp filter with -sandbox.)
Result<Process> launch_vmm(asio::any_io_executor executor, const ProcessSpec& spec,
                           const VmmJail& jail);

/// Drops this process to `uid`/`gid` for good: supplementary groups, capabilities, no_new_privs, no
/// core dumps. For the api and gate roles, once their listening sockets are open.
Result<void> drop_privileges(uid_t uid, gid_t gid);

/// The gate's filter: what an event loop over sockets needs and nothing that opens files or starts
/// programs. After this open(2) and exec fail with EPERM. Call after everything is opened.
Result<void> confine_gate();

}  // namespace hako::jail
