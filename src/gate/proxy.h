// The way in: requests from outside, passed to the service in the box they name.
#pragma once

#include "gate/guest_connection.h"
#include "http/server.h"
#include "wire/routing.h"

namespace hako::gate {

class Proxy {
 public:
  explicit Proxy(MachineTable& table) : table_(table) {}

  /// Serves one request to its end.
  Task<void> handle(http::Exchange& exchange);

 private:
  /// The box that a signed file URL is for, when it says so by nothing but its signature.
  std::optional<wire::BoxPort> box_by_signature(const http::RequestHead& head) const;
  Task<void> pass_on(http::Exchange& exchange, http::RequestHead head, MachineRef machine,
                     const wire::BoxPort& target);
  Task<Result<GuestConnection>> connect(MachineRef machine, uint16_t port);

  MachineTable& table_;
};

}  // namespace hako::gate
