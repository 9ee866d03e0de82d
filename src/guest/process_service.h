// process.Process: starting programs, talking to them, watching them end.
#pragma once

#include <string_view>

#include "guest/context.h"
#include "guest/rpc.h"

namespace hako::guest {

class ProcessService {
 public:
  explicit ProcessService(Context& context) : context_(context) {}

  /// Answers a call of `method`; false if there is no such method (nothing has been sent).
  Task<bool> handle(std::string_view method, http::Exchange& exchange);

 private:
  Task<void> start(Call& call);
  Task<void> connect(Call& call);
  Task<void> send_input(Call& call);
  Task<void> stream_input(Call& call);
  Result<std::shared_ptr<Process>> start_process(const http::RequestHead& head,
                                                 const boost::json::object& request);
  Result<std::string> list() const;
  Result<void> change(std::string_view method, const boost::json::object& request);

  Context& context_;
};

}  // namespace hako::guest
