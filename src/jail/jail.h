// The second wall: what a process may still do when what it runs has been taken over.
#pragma once

#include <vector>

#include "base/process.h"
#include "jail/root.h"

namespace hako::jail {

/// What a VMM gets. Each is one step, applied in the order of the list in vmm.cpp.
struct VmmJail {
  uid_t uid = 0;  ///< of this machine alone; never 0
  gid_t gid = 0;
  int netns = -1;    ///< an empty network namespace to join
  bool kvm = false;  ///< it may open /dev/kvm, by that device's group
  /// Bytes that no file it writes to may exceed: the size of its largest disk. 0: no bound.
  uint64_t largest_file = 0;
  /// CgroupTree::doors() of the groups it goes into before all else; borrowed. Empty: it stays in
  /// those of this process.
  std::vector<int> cgroups = {};
};

/// Starts a VMM: in its control groups; first and only process of a pid namespace; in the empty
/// network namespace; ipc and uts namespaces of its own; a root with its program, libraries and
/// firmware, read-only, a /proc that shows only itself, and nothing else; no core dumps, bounded
/// descriptors, threads and files; uid and gid dropped for good; a user namespace in which nobody
/// is anybody; no capabilities, and none to come by; no_new_privs; a system call filter (and QEMU's
/// own on top of it, by -sandbox). All files but the program's own it gets as descriptors. Where
/// the kernel allows no user namespaces, it goes without that one. Errors: invalid_argument for uid
/// or gid 0; else that of the failed step, which it names.
Result<Process> launch_vmm(asio::any_io_executor executor, const ProcessSpec& spec,
                           const VmmJail& jail);
/// The same without waiting for it (see start_spawning()): in the groups of a tenant that keeps its
/// processors busy it may take a second, and whoever waits for one does nothing for others.
Result<Process> start_vmm(asio::any_io_executor executor, const ProcessSpec& spec,
                          const VmmJail& jail);

/// For a daemon that was started by root: ipc and uts namespaces of its own, a root that shows
/// `files` and its own process, and then drop_privileges().
/// Errors: those of drop_privileges(); that of the failed step. If it fails half-way, end the
/// process.
Result<void> confine_daemon(uid_t uid, gid_t gid, const std::vector<Shown>& files);

/// Drops this process to `uid`/`gid` for good: supplementary groups, capabilities, no_new_privs, no
/// core dumps.
/// failed_precondition once there is a second thread: it would keep what this one gives up.
/// If it fails half-way, end the process.
Result<void> drop_privileges(uid_t uid, gid_t gid);

/// The gate's filter: what an event loop over sockets needs and nothing that opens files or starts
/// programs. After this open(2) and exec fail with EPERM, and so does all else that filter.cpp does
/// not list; what only an exploit would ask for (ptrace, mount, modules, ...) ends the process.
/// Covers all threads. Call after everything is opened: files, listeners, certificates.
Result<void> confine_gate();

/// The api's filter: everything but what no server and no program that it starts can want. What
/// only an exploit would ask for (ptrace, mount, modules, ...) ends the process. Namespaces are
/// made for pulls only (launch_secluded), sockets are those of TCP and UDP, and local ones.
/// Covers all threads, and all that it starts.
Result<void> confine_api();

}  // namespace hako::jail
