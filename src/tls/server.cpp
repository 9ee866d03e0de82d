#include "tls/server.h"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>

#include <cstring>

#include "tls/certificate.h"
#include "tls/layer.h"

namespace hako::tls {
namespace {

namespace ssl = asio::ssl;
using boost::system::error_code;
using Socket = http::Stream::Socket;

/// The first byte of every TLS connection.
constexpr char kHandshakeRecord = 0x16;

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

}  // namespace

Layer::Context make_server_context() {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* handle = context->native_handle();
  SSL_CTX_set_min_proto_version(handle, TLS1_2_VERSION);
  SSL_CTX_set_options(handle, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_alpn_select_cb(handle, choose_protocol, nullptr);
  return context;
}

namespace {

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
  make_server_context();
}
Server::~Server() = default;

Result<void> Server::use(const std::string& certificate, const std::string& key) {
  // In plainer words than those of what follows.
  HAKO_TRY(auto facts, examine_certificate(certificate, key));
  (void)facts;
  auto context = make_server_context();
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
  impl_->context = std::move(context);
  return ok();
}

bool Server::ready() const {
  return impl_->context != nullptr;
}

Task<Result<http::Stream>> Server::welcome(http::Stream stream) {
  error_code error;
  co_await stream.async_wait(Socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
  http::rethrow_cancelled(error);
  char first = 0;
  if (error || ::recv(stream.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
    co_return Error(ErrorCode::unavailable, "connection closed");
  if (first != kHandshakeRecord) {
    if (is_local(stream)) co_return std::move(stream);
    refuse_plain(stream);
    co_return Error(ErrorCode::unavailable, "a client did not speak TLS");
  }
  if (!ready()) co_return Error(ErrorCode::unavailable, "no certificate yet");
  auto layer = std::make_unique<Layer>(impl_->context, stream.take_layer());
  error = co_await layer->handshake(stream, Layer::Side::server);
  if (error) co_return Error(ErrorCode::unavailable, "TLS handshake: " + error.message());
  stream.set_layer(std::move(layer));
  co_return std::move(stream);
}

}  // namespace hako::tls
