// The system calls that the api, and what it starts, may not make.
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>

#include "jail/filter.h"
#include "jail/jail.h"

namespace hako::jail {
namespace {

/// Of no use to a server either, but programs ask for them to see whether they are there.
constexpr int kRefused[] = {
    SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register),
    SCMP_SYS(personality),    SCMP_SYS(syslog),         SCMP_SYS(fsmount),
    SCMP_SYS(fsconfig),       SCMP_SYS(fspick),         SCMP_SYS(name_to_handle_at),
    SCMP_SYS(mknod),          SCMP_SYS(mknodat),        SCMP_SYS(clock_settime),
    SCMP_SYS(clock_adjtime),  SCMP_SYS(settimeofday),   SCMP_SYS(adjtimex),
    SCMP_SYS(sethostname),    SCMP_SYS(setdomainname),  SCMP_SYS(swapoff),
    SCMP_SYS(vhangup),        SCMP_SYS(shmget),         SCMP_SYS(shmat),
    SCMP_SYS(msgget),         SCMP_SYS(semget),         SCMP_SYS(mq_open),
    SCMP_SYS(modify_ldt),     SCMP_SYS(lookup_dcookie), SCMP_SYS(move_pages),
    SCMP_SYS(mbind),          SCMP_SYS(migrate_pages)};

constexpr uint64_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

/// Makes a call that its arguments may allow fail where they do not.
void refuse_other_families(Filter& filter) {
  // By ranges, as rules of one filter that overlap do not go before each other: those below,
  // between and above AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK.
  const uint32_t no = SCMP_ACT_ERRNO(EAFNOSUPPORT);
  for (uint64_t family = 0; family < AF_MAX; ++family) {
    if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK)
      continue;
    filter.rule(no, SCMP_SYS(socket), {equals(0, family)});
  }
  filter.rule(no, SCMP_SYS(socket), {{0, SCMP_CMP_GE, AF_MAX, 0}});
  // What comes in raw, of the families that remain; netlink's is of this type by nature.
  constexpr uint64_t kTypeMask = ~static_cast<uint64_t>(SOCK_NONBLOCK | SOCK_CLOEXEC);
  for (uint64_t family : {AF_INET, AF_INET6})
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket),
                {equals(0, family), has_bits(1, kTypeMask, SOCK_RAW)});
}

void refuse_namespaces(Filter& filter) {
  for (uint64_t bit = 1; bit <= kNewNamespaces; bit <<= 1) {
    if ((kNewNamespaces & bit) == 0) continue;
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), {has_bits(0, bit, bit)});
    // A pull's: a user and a network namespace, together.
    if (bit == CLONE_NEWUSER || bit == CLONE_NEWNET) continue;
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), {has_bits(0, bit, bit)});
  }
  constexpr uint64_t kPull = CLONE_NEWUSER | CLONE_NEWNET;
  for (uint64_t one : {uint64_t(CLONE_NEWUSER), uint64_t(CLONE_NEWNET)})
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), {has_bits(0, kPull, one)});
  // Its flags are in memory; everybody falls back to clone.
  filter.rule(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
}

}  // namespace

Result<void> confine_api() {
  Filter filter(SCMP_ACT_ALLOW);
  filter.end_process(deadly_calls());
  for (int call : kRefused) filter.rule(SCMP_ACT_ERRNO(EPERM), call);
  refuse_other_families(filter);
  refuse_namespaces(filter);
  return filter.load();
}

}  // namespace hako::jail
