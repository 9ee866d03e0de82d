// The way in: requests from outside, passed to the service in the box they name.
#pragma once

#include "base/token_bucket.h"
#include "gate/access_log.h"
#include "gate/guest_connection.h"
#include "gate/sleepers.h"
#include "http/server.h"
#include "wire/routing.h"

namespace hako::gate {

class Proxy {
 public:
  /// Where requests for the API itself go.
  struct Api {
    std::string host;         ///< the name they come for, without a port; empty for none
    std::string socket_path;  ///< the unix socket it listens on
  };

  /// `sleepers`: null if none are ever woken.
  Proxy(MachineTable& table, AccessLog& log, Api api = {}, Sleepers* sleepers = nullptr)
      : table_(table), log_(log), api_(std::move(api)), sleepers_(sleepers) {}

  /// Serves one request to its end.
  Task<void> handle(http::Exchange& exchange);

 private:
  /// The box that a signed file URL is for, when it says so by nothing but its signature.
  std::optional<wire::BoxPort> box_by_signature(const http::RequestHead& head) const;
  /// What of a request gets inside; a grant that it goes on by there is added to the judgement.
  static http::RequestHead let_in(const http::RequestHead& head, const Machine& machine,
                                  uint16_t port, Judgement& judgement);
  Task<void> refuse(http::Exchange& exchange, const http::RequestHead& head,
                    const Machine& machine, const wire::BoxPort& target,
                    const Judgement& judgement);
  Task<void> pass_on(http::Exchange& exchange, http::RequestHead head, MachineRef machine,
                     wire::BoxPort target);
  /// Has a box woken for a request that may go in; null if it was answered instead.
  Task<MachineRef> wake(http::Exchange& exchange, const http::RequestHead& head,
                        MachineRef sleeper, const wire::BoxPort& target);
  Task<void> pass_to_api(http::Exchange& exchange, http::RequestHead head);
  Task<Result<GuestConnection>> connect(MachineRef machine, uint16_t port);

  MachineTable& table_;
  AccessLog& log_;
  Api api_;
  Sleepers* sleepers_;
  /// Looking for the box of a signature costs a hash for each grant of each box, and anybody may
  /// ask. Those that were of none count.
  TokenBucket guesses_{20, 40};
};

}  // namespace hako::gate
