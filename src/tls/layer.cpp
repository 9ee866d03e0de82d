#include "tls/layer.h"

namespace hako::tls {

namespace ssl = asio::ssl;
using boost::system::error_code;

namespace {

/// What one record holds: small pieces are gathered up to here, so that each costs no record.
constexpr size_t kRecord = 16 << 10;
constexpr auto kFinishPatience = std::chrono::seconds(1);

}  // namespace

void rethrow_abort(const error_code& error) {
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
}

Task<error_code> Layer::handshake(Socket& socket, ssl::stream_base::handshake_type side) {
  stream_.next_layer().follow(socket);
  error_code error;
  co_await stream_.async_handshake(side, asio::redirect_error(asio::use_awaitable, error));
  rethrow_abort(error);
  co_return error;
}

Task<error_code> Layer::send(Socket& socket, std::span<const asio::const_buffer> pieces) {
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

Task<error_code> Layer::receive(Socket& socket, asio::mutable_buffer into, size_t& count) {
  stream_.next_layer().follow(socket);
  error_code error;
  count = co_await stream_.async_read_some(into, asio::redirect_error(asio::use_awaitable, error));
  rethrow_abort(error);
  co_return error;
}

Task<void> Layer::finish(Socket& socket) {
  stream_.next_layer().follow(socket);
  // The notice goes out at once; what is waited for is the other side's own.
  auto work = say_goodbye();
  (void)co_await with_deadline(kFinishPatience, std::move(work));
}

Task<error_code> Layer::write(asio::const_buffer piece) {
  error_code error;
  while (piece.size() > 0 && !error) {
    piece += co_await stream_.async_write_some(piece,
                                               asio::redirect_error(asio::use_awaitable, error));
  }
  rethrow_abort(error);
  co_return error;
}

Task<Result<void>> Layer::say_goodbye() {
  error_code error;
  co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, error));
  rethrow_abort(error);
  co_return ok();
}

}  // namespace hako::tls
