// A program that reaches nothing but what its starter hands it.
#pragma once

#include "base/process.h"

namespace hako::jail {

/// IPv4, numeric, on loopback; in host byte order.
struct InnerListener {
  std::string address;
  uint16_t port = 0;
};

struct Secluded {
  Process process;
  std::vector<Fd> listeners;  ///< in the order they were asked for, non-blocking
};

constexpr size_t kMostInnerListeners = 64;

/// Starts a program in a network namespace of its own, which holds a loopback device and nothing
/// else: this machine's loopback, its networks and its abstract sockets do not exist there. What
/// listens there are sockets that the caller gets, so each connection out is one that the caller
/// makes. It gains no privileges (nor does this need any), and ends with the thread that started
/// it, also when that is killed.
/// Errors: unsupported where an unprivileged process may make no user namespace; invalid_argument
/// for a listener; else that of the failed step, which it names.
Result<Secluded> launch_secluded(asio::any_io_executor executor, const ProcessSpec& spec,
                                 const std::vector<InnerListener>& listeners);

}  // namespace hako::jail
