#include "tls/server.h"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>

#include <cerrno>
#include <cstring>

namespace hako::tls {
namespace {

namespace ssl = asio::ssl;
using boost::system::error_code;
using Socket = http::Stream::Socket;

/// The first byte of every TLS connection.
constexpr char kHandshakeRecord = 0x16;
/// What one record holds: small pieces are gathered up to here, so that each costs no record.
constexpr size_t kRecord = 16 << 10;
constexpr auto kFinishPatience = std::chrono::seconds(1);

/// A socket for Asio's TLS that may change its place between two operations.
class Link {
 public:
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

void rethrow_abort(const error_code& error) {
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
}

class Layer final : public http::Stream::Layer {
 public:
  Layer(Socket& socket, std::shared_ptr<ssl::context> context)
      : context_(std::move(context)), stream_(Link(socket), *context_) {}

  Task<error_code> handshake(Socket& socket) {
    stream_.next_layer().follow(socket);
    error_code error;
    co_await stream_.async_handshake(ssl::stream_base::server,
                                     asio::redirect_error(asio::use_awaitable, error));
    rethrow_abort(error);
    co_return error;
  }

  Task<error_code> send(Socket& socket, std::span<const asio::const_buffer> pieces) override {
    stream_.next_layer().follow(socket);
    error_code error;
    std::string gathered;
    for (const auto& piece : pieces) {
      if (gathered.size() + piece.size() <= kRecord) {
        gathered.append(static_cast<const char*>(piece.data()), piece.size());
        continue;
      }
      error = co_await write(asio::buffer(gathered));
      gathered.clear();
      if (!error) error = co_await write(piece);
      if (error) co_return error;
    }
    co_return co_await write(asio::buffer(gathered));
  }

  Task<error_code> receive(Socket& socket, asio::mutable_buffer into, size_t& count) override {
    stream_.next_layer().follow(socket);
    error_code error;
    count =
        co_await stream_.async_read_some(into, asio::redirect_error(asio::use_awaitable, error));
    rethrow_abort(error);
    co_return error;
  }

  Task<void> finish(Socket& socket) override {
    stream_.next_layer().follow(socket);
    // The notice goes out at once; what is waited for is the client's own.
    auto work = say_goodbye();
    (void)co_await with_deadline(kFinishPatience, std::move(work));
  }

 private:
  Task<error_code> write(asio::const_buffer piece) {
    error_code error;
    while (piece.size() > 0 && !error) {
      piece += co_await stream_.async_write_some(piece,
                                                 asio::redirect_error(asio::use_awaitable, error));
    }
    rethrow_abort(error);
    co_return error;
  }

  Task<Result<void>> say_goodbye() {
    error_code error;
    co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, error));
    rethrow_abort(error);
    co_return ok();
  }

  std::shared_ptr<ssl::context> context_;
  ssl::stream<Link> stream_;
};

/// HTTP/1.1 if the client names it; else nothing is agreed on, which means the same.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length,
                    const unsigned char* offered, unsigned offered_length, void*) {
  constexpr std::string_view kHttp11 = "http/1.1";
  for (unsigned at = 0; at < offered_length;) {
    unsigned size = offered[at++];
    if (size > offered_length - at) break;
    if (std::string_view(reinterpret_cast<const char*>(offered + at), size) == kHttp11) {
      *chosen = offered + at;
      *length = static_cast<unsigned char>(size);
      return SSL_TLSEXT_ERR_OK;
    }
    at += size;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

std::shared_ptr<ssl::context> make_context() {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* handle = context->native_handle();
  SSL_CTX_set_min_proto_version(handle, TLS1_2_VERSION);
  SSL_CTX_set_options(handle, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_alpn_select_cb(handle, choose_protocol, nullptr);
  return context;
}

std::optional<asio::ip::address> address_of(const asio::generic::stream_protocol::endpoint& from) {
  int family = from.protocol().family();
  if (family != AF_INET && family != AF_INET6) return std::nullopt;
  asio::ip::tcp::endpoint endpoint;
  endpoint.resize(from.size());
  std::memcpy(endpoint.data(), from.data(), from.size());
  return endpoint.address();
}

/// Whether the client is this machine: by loopback, or by an address of our own.
bool is_local(const Socket& socket) {
  error_code error;
  auto remote = socket.remote_endpoint(error);
  if (error) return false;
  auto from = address_of(remote);
  if (!from) return true;
  auto local = socket.local_endpoint(error);
  return from->is_loopback() || (!error && address_of(local) == from);
}

void refuse_plain(Socket& socket) {
  constexpr std::string_view kRefusal =
      "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 48\r\n"
      "Connection: close\r\n\r\n{\"code\":400,\"message\":\"this port speaks https\"}\n";
  static_assert(kRefusal.size() - kRefusal.find("\r\n\r\n") - 4 == 48);
  (void)!::send(socket.native_handle(), kRefusal.data(), kRefusal.size(),
                MSG_NOSIGNAL | MSG_DONTWAIT);
  error_code ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
}

}  // namespace

struct Server::Impl {
  std::shared_ptr<ssl::context> context;
};

Server::Server() : impl_(std::make_unique<Impl>()) {
  // OpenSSL reads its own configuration when it is first used: now, while files can be read.
  make_context();
}
Server::~Server() = default;

Result<void> Server::use(const std::string& certificate, const std::string& key) {
  auto context = make_context();
  auto wrong = [](const char* what, const error_code& error) {
    return Error(ErrorCode::invalid_argument, std::string(what) + ": " + error.message());
  };
  error_code error;
  // Without this OpenSSL asks the terminal.
  context->set_password_callback(
      [](size_t, ssl::context::password_purpose) { return std::string(); }, error);
  context->use_certificate_chain(asio::buffer(certificate), error);
  if (error) return wrong("certificate", error);
  context->use_private_key(asio::buffer(key), ssl::context::pem, error);
  if (error) return wrong("key", error);
  if (SSL_CTX_check_private_key(context->native_handle()) != 1)
    return Error(ErrorCode::invalid_argument, "the key is not that of the certificate");
  impl_->context = std::move(context);
  return ok();
}

bool Server::ready() const {
  return impl_->context != nullptr;
}

Task<Result<http::Stream>> Server::welcome(http::Stream stream) {
  error_code error;
  co_await stream.async_wait(Socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
  rethrow_abort(error);
  char first = 0;
  if (error || ::recv(stream.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
    co_return Error(ErrorCode::unavailable, "connection closed");
  if (first != kHandshakeRecord) {
    if (is_local(stream)) co_return std::move(stream);
    refuse_plain(stream);
    co_return Error(ErrorCode::unavailable, "a client did not speak TLS");
  }
  if (!ready()) co_return Error(ErrorCode::unavailable, "no certificate yet");
  auto layer = std::make_unique<Layer>(stream, impl_->context);
  error = co_await layer->handshake(stream);
  if (error) co_return Error(ErrorCode::unavailable, "TLS handshake: " + error.message());
  stream.set_layer(std::move(layer));
  co_return std::move(stream);
}

}  // namespace hako::tls
