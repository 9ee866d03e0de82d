#include "base/async/cancellation.h"

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

namespace hako {

namespace asio = boost::asio;

bool is_cancellation(const std::exception_ptr& fault) {
  try {
    std::rethrow_exception(fault);
  } catch (const asio::multiple_exceptions& several) {
    return is_cancellation(several.first_exception());
  } catch (const boost::system::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

}  // namespace hako
