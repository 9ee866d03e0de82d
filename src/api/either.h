// Two tasks side by side, until one has ended.
#pragma once

#include <boost/asio/multiple_exceptions.hpp>

#include "base/async/task.h"

namespace hako::api {

/// Runs both; when one has returned, cancels the other and waits for it. When this is cancelled so
/// are both, and it throws operation_aborted (where the bare operator throws multiple_exceptions).
inline Task<void> until_either_ends(Task<void> a, Task<void> b) {
  using namespace asio::experimental::awaitable_operators;
  try {
    co_await (std::move(a) || std::move(b));
  } catch (const asio::multiple_exceptions& both) {
    std::rethrow_exception(both.first_exception());
  }
}

}  // namespace hako::api
