// process.Process: starting programs, talking to them, watching them end.
#pragma once

#include <string_view>

#include "guest/context.h"

namespace hako::guest {

class ProcessService {
 public:
  explicit ProcessService(Context& context) : context_(context) {}

  /// Answers a call of `method`; false if there is no such method (nothing has been sent).
  Task<bool> handle(std::string_view method, http::Exchange& exchange);

 private:
  Task<void> start(http::Exchange& exchange);
  Task<void> connect(http::Exchange& exchange);
  Task<void> send_input(http::Exchange& exchange);
  Task<void> stream_input(http::Exchange& exchange);
  Result<std::shared_ptr<Process>> start_process(const http::RequestHead& head,
                                                 const boost::json::object& request);
  Result<std::string> list() const;
  Result<void> call(std::string_view method, const boost::json::object& request);

  Context& context_;
};

}  // namespace hako::guest
