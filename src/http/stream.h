// The connections HTTP runs over.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>

#include <memory>
#include <span>

#include "base/async/task.h"
#include "base/fd.h"

namespace hako::http {

/// Whether somebody still reads what the other side sends.
enum class Ending { whole, half };

/// A TCP or unix stream socket, perhaps with a layer between it and us.
class Stream : public boost::asio::generic::stream_protocol::socket {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  /// Changes bytes on their way, as TLS does. Each call is handed the socket, which may have moved
  /// since the last one, but does not while a call runs. One send and one receive at a time.
  /// Errors are those of a socket: eof only when the other side ended in good order. Throws only
  /// when cancelled.
  class Layer {
   public:
    virtual ~Layer() = default;
    virtual Task<boost::system::error_code> send(Socket& socket,
                                                 std::span<const asio::const_buffer> pieces) = 0;
    virtual Task<boost::system::error_code> receive(Socket& socket, asio::mutable_buffer into,
                                                    size_t& count) = 0;
    /// Says that nothing more will be sent. Bounded in time.
    virtual Task<void> finish(Socket& socket, Ending ending) = 0;
  };

  using Socket::Socket;
  explicit Stream(Socket socket) : Socket(std::move(socket)) {}

  Layer* layer() const { return layer_.get(); }
  void set_layer(std::unique_ptr<Layer> layer) { layer_ = std::move(layer); }
  /// For one that is to go above it.
  std::unique_ptr<Layer> take_layer() { return std::move(layer_); }

 private:
  std::unique_ptr<Layer> layer_;
};

/// Sends all of `pieces` (at most 4), without a trip through the event loop where the socket takes
/// them at once. Past any layer. Throws only when cancelled.
Task<boost::system::error_code> send_bytes(Stream::Socket& socket,
                                           std::span<const asio::const_buffer> pieces);
/// Receives some bytes. `eof` as an error code, as Asio has it. `at_hand`: some are thought to have
/// come already. Past any layer. Throws only when cancelled.
Task<boost::system::error_code> receive_bytes(Stream::Socket& socket, asio::mutable_buffer into,
                                              size_t& count, bool at_hand = false);
/// Errors of a cancelled operation are thrown, as everywhere.
void rethrow_cancelled(const boost::system::error_code& error);

/// Ends the sending half: the other side sees an end in good order.
Task<void> finish_sending(Stream& stream, Ending ending = Ending::whole);

/// Takes over a connected socket.
Stream make_stream(asio::any_io_executor executor, Fd connected);
/// Connects to 127.0.0.1:port, host:port (numeric), or a unix socket path.
Task<Result<Stream>> connect_tcp(std::string address, uint16_t port, Duration deadline);
Task<Result<Stream>> connect_unix(std::string path, Duration deadline);
/// Ends the connection with a TCP reset, so that the other side sees that it was cut, not ended.
void reset_connection(Stream& stream);
/// Has the kernel end the connection of a peer that has gone without a word, within two minutes.
void watch_for_dead_peer(int socket);

}  // namespace hako::http
