// Inside src/tls only: TLS between a socket and whoever reads and writes.
#pragma once

#include <boost/asio/ssl.hpp>

#include "http/stream.h"

namespace hako::tls {

/// A socket for Asio's TLS that may change its place between two operations.
class Link {
 public:
  using Socket = http::Stream::Socket;
  using executor_type = Socket::executor_type;
  using lowest_layer_type = Socket::lowest_layer_type;

  explicit Link(Socket& socket) : socket_(&socket) {}
  void follow(Socket& socket) { socket_ = &socket; }

  executor_type get_executor() { return socket_->get_executor(); }
  lowest_layer_type& lowest_layer() { return socket_->lowest_layer(); }
  const lowest_layer_type& lowest_layer() const { return socket_->lowest_layer(); }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return socket_->async_read_some(buffers, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return socket_->async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  Socket* socket_;
};

class Layer final : public http::Stream::Layer {
 public:
  using Socket = http::Stream::Socket;
  using Stream = asio::ssl::stream<Link>;

  Layer(Socket& socket, std::shared_ptr<asio::ssl::context> context)
      : context_(std::move(context)), stream_(Link(socket), *context_) {}

  /// What is to be set before the handshake.
  Stream& stream() { return stream_; }
  Task<boost::system::error_code> handshake(Socket& socket,
                                            asio::ssl::stream_base::handshake_type side);

  Task<boost::system::error_code> send(Socket& socket,
                                       std::span<const asio::const_buffer> pieces) override;
  Task<boost::system::error_code> receive(Socket& socket, asio::mutable_buffer into,
                                          size_t& count) override;
  Task<void> finish(Socket& socket) override;

 private:
  Task<boost::system::error_code> write(asio::const_buffer piece);
  Task<Result<void>> say_goodbye();

  std::shared_ptr<asio::ssl::context> context_;
  Stream stream_;
};

/// Errors of a cancelled operation are thrown, as everywhere.
void rethrow_abort(const boost::system::error_code& error);

}  // namespace hako::tls
