#include "gate/metered_stream.h"

#include <cstring>

namespace hako::gate {
namespace {

using boost::system::error_code;

error_code used_up() {
  return asio::error::make_error_code(asio::error::connection_aborted);
}

class MeteredLayer final : public http::Stream::Layer {
 public:
  MeteredLayer(Meter& meter, std::string pending) : meter_(meter), pending_(std::move(pending)) {}

  Task<error_code> send(http::Stream::Socket& socket,
                        std::span<const asio::const_buffer> pieces) override {
    co_await meter_.pace();
    // Before it is sent, so that others do not spend the same.
    meter_.count(Way::in, asio::buffer_size(pieces));
    if (meter_.spent()) co_return used_up();
    co_return co_await http::send_bytes(socket, pieces);
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
    asio::mutable_buffer room(into.data(), std::min(into.size(), meter_.piece()));
    error_code error = co_await http::receive_bytes(socket, room, count);
    if (error) co_return error;
    meter_.count(Way::out, count);
    if (meter_.spent()) co_return used_up();
    co_return error_code();
  }

  Task<void> finish(http::Stream::Socket& socket, http::Ending) override {
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
