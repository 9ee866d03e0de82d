// The only way out for a program that pulls an image.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "base/fd.h"
#include "http/stream.h"
#include "policy/registries.h"

namespace hako::api {

/// The program runs where there is no network (jail/secluded.h); it connects to listeners that this
/// holds, and here each connection is decided upon and made: through a SOCKS5 proxy for names and
/// addresses, and directly for registries on this machine's loopback, which no client of HTTP asks
/// a proxy for. Thread: one executor.
class RegistryDoor {
 public:
  explicit RegistryDoor(const policy::RegistryLists& lists);

  /// Where listeners are needed: the proxy's first, then one for each registry on loopback.
  const std::vector<policy::LoopbackEndpoint>& endpoints() const { return endpoints_; }
  /// "socks5://127.0.0.1:1080", as the program is told it.
  std::string proxy_url() const;

  /// Serves `listeners`, one for each of endpoints(), until cancelled; then ends all connections.
  Task<void> serve(std::vector<Fd> listeners);

  /// Why a connection was not made: the last that was not allowed (permission_denied), else the
  /// last that did not come about (unavailable).
  const std::optional<Error>& trouble() const { return trouble_; }

 private:
  Task<void> accept_all(Fd listener, size_t number, TaskGroup& connections);
  Task<void> pass_on(http::Stream stream, size_t number);

  const policy::RegistryLists& lists_;
  std::vector<policy::LoopbackEndpoint> endpoints_;
  std::optional<Error> trouble_;
};

}  // namespace hako::api
