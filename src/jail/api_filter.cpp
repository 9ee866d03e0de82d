// The system calls that the api, and what it starts, may not make.
#include <linux/if_vlan.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

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

/// Of unshare(2) only: in clone(2) these bits are those of a signal.
constexpr uint64_t kNewTime = 0x80;
constexpr uint64_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

/// What the kernel takes for an int: whatever is in the upper half of the register.
scmp_arg_cmp equals_int(unsigned argument, uint64_t value) {
  return has_bits(argument, 0xffffffff, value);
}

/// Makes a call that its arguments may allow fail where they do not.
void refuse_other_sockets(Filter& filter) {
  // By single values, as rules of one filter that overlap do not go before each other. No netlink: in
  // a network namespace of its own, as pulls have one, it would change much of the kernel.
  for (uint64_t family = 0; family < AF_MAX; ++family)
    if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
      filter.rule(SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), {equals(0, family)});
  filter.rule(SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), {{0, SCMP_CMP_GE, AF_MAX, 0}});
  constexpr uint64_t kType = 0xf;  // the rest of that argument are flags
  for (uint64_t family : {AF_INET, AF_INET6}) {
    for (uint64_t type = 0; type <= kType; ++type)
      if (type != SOCK_STREAM && type != SOCK_DGRAM)
        filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket),
                    {equals(0, family), has_bits(1, kType, type)});
    // TCP and UDP, and no others of their types (but ping's of IPv4, which comes before them).
    filter.rule(SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket),
                {equals(0, family), {2, SCMP_CMP_GT, IPPROTO_UDP, 0}});
  }
}

/// Packet filters, IPsec, routes and devices are set through any socket, by who has a namespace of its
/// own.
void refuse_kernel_tables(Filter& filter) {
  constexpr std::pair<uint64_t, uint64_t> kOptions[] = {
      {IPPROTO_IP, 16},   {IPPROTO_IP, 17},   {IPPROTO_IP, 64},   {IPPROTO_IP, 65},
      {IPPROTO_IP, 96},   {IPPROTO_IP, 97},   {IPPROTO_IP, 128},  {IPPROTO_IP, 129},
      {IPPROTO_IPV6, 34}, {IPPROTO_IPV6, 35}, {IPPROTO_IPV6, 64}, {IPPROTO_IPV6, 65}};
  for (auto [level, option] : kOptions)
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(setsockopt),
                {equals_int(1, level), equals_int(2, option)});
  constexpr uint64_t kFirstOfIpvs = 1024 + 64 + 64;
  filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(setsockopt),
              {equals_int(1, IPPROTO_IP), {2, SCMP_CMP_GE, kFirstOfIpvs, 0}});
  // Routes, bridges, VLANs, tunnels and drivers; a pull's loopback is brought up by others.
  constexpr uint64_t kRequests[] = {SIOCADDRT,    SIOCDELRT,    SIOCGIFBR,    SIOCSIFBR,
                                    SIOCBRADDBR,  SIOCBRDELBR,  SIOCBRADDIF,  SIOCBRDELIF,
                                    SIOCGIFVLAN,  SIOCSIFVLAN,  SIOCBONDENSLAVE, SIOCBONDRELEASE,
                                    SIOCETHTOOL,  SIOCSHWTSTAMP, SIOCADDDLCI, SIOCDELDLCI};
  for (uint64_t request : kRequests)
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), {equals_int(1, request)});
  for (uint64_t request = SIOCDEVPRIVATE; request < SIOCDEVPRIVATE + 16; ++request)
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), {equals_int(1, request)});
}

void refuse_namespaces(Filter& filter) {
  for (uint64_t bit = 1; bit <= kNewNamespaces; bit <<= 1) {
    if ((kNewNamespaces & bit) == 0) continue;
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), {has_bits(0, bit, bit)});
    // A pull's: a user and a network namespace, together.
    if (bit == CLONE_NEWUSER || bit == CLONE_NEWNET) continue;
    filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), {has_bits(0, bit, bit)});
  }
  filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), {has_bits(0, kNewTime, kNewTime)});
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
  refuse_other_sockets(filter);
  refuse_kernel_tables(filter);
  refuse_namespaces(filter);
  return filter.load();
}

}  // namespace hako::jail
