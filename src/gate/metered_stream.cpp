#include "gate/metered_stream.h"

#include <cstring>

namespace hako::gate {
namespace {

using boost::system::error_code;

error_code used_up() {
  return asio::error::make_error_code(asio::error::connection_aborted);
}

void rethrow_cancelled(const error_code& error) {
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
}

class MeteredLayer final : public http::Stream::Layer {
 public:
  MeteredLayer(Meter& meter, std::string pending) : meter_(meter), pending_(std::move(pending)) {}

  Task<error_code> send(http::Stream::Socket& socket,
                        std::span<const asio::const_buffer> pieces) override {
    co_await meter_.pace();
    std::vector<asio::const_buffer> all(pieces.begin(), pieces.end());
    // Before it is sent, so that others do not spend the same.
    meter_.count(Way::in, asio::buffer_size(all));
    if (meter_.spent()) co_return used_up();
    error_code error;
    co_await asio::async_write(socket, all, asio::redirect_error(asio::use_awaitable, error));
    rethrow_cancelled(error);
    co_return error;
  }

  Task<error_code> receive(http::Stream::Socket& socket, asio::mutable_buffer into,
                           size_t& count) override {
    if (taken_ < pending_.size()) {
      count = std::min(into.size(), pending_.size() - taken_);
      std::memcpy(into.data(), pending_.data() + taken_, count);
      taken_ += count;
      co_return error_code();
    }
    co_await meter_.pace();
    if (meter_.spent()) co_return used_up();
    error_code error;
    asio::mutable_buffer room(into.data(), std::min(into.size(), meter_.piece()));
    count = co_await socket.async_read_some(room, asio::redirect_error(asio::use_awaitable, error));
    rethrow_cancelled(error);
    if (error) co_return error;
    meter_.count(Way::out, count);
    if (meter_.spent()) co_return used_up();
    co_return error_code();
  }

  Task<void> finish(http::Stream::Socket& socket) override {
    error_code ignored;
    socket.shutdown(http::Stream::shutdown_send, ignored);
    co_return;
  }

 private:
  Meter& meter_;
  std::string pending_;
  size_t taken_ = 0;
};

}  // namespace

void meter_stream(http::Stream& stream, Meter& meter, std::string pending) {
  stream.set_layer(std::make_unique<MeteredLayer>(meter, std::move(pending)));
}

}  // namespace hako::gate
