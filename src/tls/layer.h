// Inside src/tls only: TLS between a socket and whoever reads and writes.
#pragma once

#include <boost/asio/ssl.hpp>

#include "base/async/turn_queue.h"
#include "http/stream.h"

namespace hako::tls {

/// OpenSSL works on memory here, and what moves the records is ours: so that they can go through
/// another layer, and several of them with one call to the kernel.
class Layer final : public http::Stream::Layer {
 public:
  using Socket = http::Stream::Socket;
  using Context = std::shared_ptr<asio::ssl::context>;
  enum class Side { client, server };

  /// `below`: what the records go through; null: nothing but the socket.
  Layer(Context context, std::unique_ptr<http::Stream::Layer> below);

  /// What is to be set before the handshake.
  SSL* handle() { return ssl_.get(); }
  Task<boost::system::error_code> handshake(Socket& socket, Side side);

  Task<boost::system::error_code> send(Socket& socket,
                                       std::span<const asio::const_buffer> pieces) override;
  Task<boost::system::error_code> receive(Socket& socket, asio::mutable_buffer into,
                                          size_t& count) override;
  Task<void> finish(Socket& socket, http::Ending ending) override;

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  /// Memory that a BIO and we have by turns, so that nothing is copied between them.
  struct FreeMemory {
    void operator()(BUF_MEM* memory) const { BUF_MEM_free(memory); }
  };
  using Memory = std::unique_ptr<BUF_MEM, FreeMemory>;
  static Memory make_memory();
  static BIO* make_bio(const Memory& memory);
  /// What a call has said that did not succeed; no error if it only wants more records.
  boost::system::error_code problem_of(int outcome) const;
  Task<boost::system::error_code> take_records(Socket& socket);
  /// All that OpenSSL has ready. One at a time; others wait.
  Task<boost::system::error_code> put_records(Socket& socket);
  Task<boost::system::error_code> write(Socket& socket, asio::const_buffer piece);
  Task<Result<void>> wait_for_goodbye(Socket& socket);

  Context context_;
  std::unique_ptr<http::Stream::Layer> below_;
  Memory received_, leaving_[2];  ///< outlive the BIOs, which have the first and one of the others
  std::unique_ptr<SSL, Free> ssl_;
  BIO* in_;   ///< records that have come; both are the SSL's
  BIO* out_;  ///< records to be sent
  bool first_leaves_ = false;  ///< of the two; OpenSSL writes to the other
  bool more_at_hand_ = false;  ///< by what came last
  size_t moved_ = 0;  ///< bytes, without others having had their turn
  bool putting_ = false, receiving_ = false;
  Condition put_;
};

/// A server's context as this project has them: TLS 1.2 and newer, HTTP/1.1.
Layer::Context make_server_context();

}  // namespace hako::tls
