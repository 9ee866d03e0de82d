#include "tls/layer.h"

namespace hako::tls {

namespace ssl = asio::ssl;
using boost::system::error_code;

namespace {

/// What one record holds: small pieces are gathered up to here, so that each costs no record.
constexpr size_t kRecord = 16 << 10;
/// So much is encrypted before it is sent.
constexpr size_t kSentAtOnce = 64 << 10;
constexpr size_t kReadAtOnce = 34 << 10;  ///< two records
/// So much is moved in one go before others get their turn.
constexpr size_t kMovedWithoutPause = 256 << 10;
constexpr auto kFinishPatience = std::chrono::seconds(1);

/// Before each call of OpenSSL whose outcome is asked for: what it says would be mixed up with what went
/// wrong before. Clearing costs as much as a small record, and mostly there is nothing to clear.
void forget_errors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

/// Holds a flag for as long as something is under way, cancelled or not.
class Mark {
 public:
  explicit Mark(bool& flag) : flag_(flag) { flag_ = true; }
  ~Mark() { flag_ = false; }

 private:
  bool& flag_;
};

}  // namespace

Layer::Memory Layer::make_memory() {
  Memory memory(BUF_MEM_new());
  if (!memory) throw std::bad_alloc();
  return memory;
}

BIO* Layer::make_bio(const Memory& memory) {
  BIO* bio = BIO_new(BIO_s_mem());
  if (!bio) return nullptr;
  // Its own is freed here; what it is given is not.
  BIO_set_mem_buf(bio, memory.get(), BIO_NOCLOSE);
  return bio;
}

Layer::Layer(Context context, std::unique_ptr<http::Stream::Layer> below)
    : context_(std::move(context)),
      below_(std::move(below)),
      received_(make_memory()),
      leaving_{make_memory(), make_memory()},
      ssl_(SSL_new(context_->native_handle())),
      in_(make_bio(received_)),
      out_(make_bio(leaving_[0])) {
  if (!ssl_ || !in_ || !out_) throw std::bad_alloc();
  SSL_set_bio(ssl_.get(), in_, out_);
  SSL_set_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS);
}

error_code Layer::problem_of(int outcome) const {
  switch (SSL_get_error(ssl_.get(), outcome)) {
    case SSL_ERROR_NONE:
    case SSL_ERROR_WANT_READ:
      return error_code();
    case SSL_ERROR_ZERO_RETURN:
      return asio::error::eof;
    case SSL_ERROR_SSL:
      return error_code(static_cast<int>(ERR_get_error()), asio::error::get_ssl_category());
    default:
      return ssl::error::unexpected_result;
  }
}

Task<error_code> Layer::take_records(Socket& socket) {
  // Nothing else may be put in the place of what has not been read.
  if (BIO_ctrl_pending(in_) > 0) co_return error_code();
  if (received_->max < kReadAtOnce && BUF_MEM_grow(received_.get(), kReadAtOnce) == 0)
    co_return asio::error::no_memory;
  asio::mutable_buffer room(received_->data, kReadAtOnce);
  received_->length = 0;
  size_t count = 0;
  error_code error;
  if (below_)
    error = co_await below_->receive(socket, room, count);
  else
    error = co_await http::receive_bytes(socket, room, count, more_at_hand_);
  more_at_hand_ = count == kReadAtOnce;
  // The end of a TLS connection is said in a record of its own.
  if (error == asio::error::eof) co_return ssl::error::stream_truncated;
  if (error) co_return error;
  received_->length = count;
  BIO_set_mem_buf(in_, received_.get(), BIO_NOCLOSE);
  moved_ += count;
  if (moved_ >= kMovedWithoutPause) {
    moved_ = 0;
    co_await asio::post(socket.get_executor(), asio::use_awaitable);
  }
  co_return error_code();
}

Task<error_code> Layer::put_records(Socket& socket) {
  while (putting_) co_await put_.wait();
  struct Tell {
    Condition& put;
    ~Tell() { put.notify_all(); }
  } tell{put_};
  Mark putting(putting_);
  while (BIO_ctrl_pending(out_) > 0) {
    BUF_MEM& full = *leaving_[first_leaves_ ? 1 : 0];
    first_leaves_ = !first_leaves_;
    BUF_MEM& empty = *leaving_[first_leaves_ ? 1 : 0];
    empty.length = 0;
    BIO_set_mem_buf(out_, &empty, BIO_NOCLOSE);
    asio::const_buffer bytes(full.data, full.length);
    error_code error;
    if (below_)
      error = co_await below_->send(socket, std::span(&bytes, 1));
    else
      error = co_await http::send_bytes(socket, std::span(&bytes, 1));
    if (error) co_return error;
  }
  co_return error_code();
}

Task<error_code> Layer::handshake(Socket& socket, Side side) {
  if (side == Side::client)
    SSL_set_connect_state(ssl_.get());
  else
    SSL_set_accept_state(ssl_.get());
  for (;;) {
    forget_errors();
    int outcome = SSL_do_handshake(ssl_.get());
    error_code problem = problem_of(outcome);
    // Also where it has failed: the other side is told why.
    error_code error = co_await put_records(socket);
    if (problem) co_return problem == asio::error::eof ? ssl::error::stream_truncated : problem;
    if (error || outcome == 1) co_return error;
    error = co_await take_records(socket);
    if (error) co_return error;
  }
}

Task<error_code> Layer::send(Socket& socket, std::span<const asio::const_buffer> pieces) {
  error_code error;
  std::string gathered;
  for (const auto& piece : pieces) {
    if (gathered.size() + piece.size() <= kRecord) {
      gathered.append(static_cast<const char*>(piece.data()), piece.size());
      continue;
    }
    error = co_await write(socket, asio::buffer(gathered));
    gathered.clear();
    if (!error) error = co_await write(socket, piece);
    if (error) co_return error;
  }
  co_return co_await write(socket, asio::buffer(gathered));
}

Task<error_code> Layer::write(Socket& socket, asio::const_buffer piece) {
  while (piece.size() > 0) {
    forget_errors();
    size_t written = 0;
    int outcome = SSL_write_ex(ssl_.get(), piece.data(), std::min(piece.size(), kSentAtOnce),
                               &written);
    // Into memory it is always written, unless the connection is of no more use.
    if (outcome != 1) {
      error_code problem = problem_of(outcome);
      if (problem) co_return problem;
      co_return ssl::error::unexpected_result;
    }
    piece += written;
    error_code error = co_await put_records(socket);
    if (error) co_return error;
  }
  co_return error_code();
}

Task<error_code> Layer::receive(Socket& socket, asio::mutable_buffer into, size_t& count) {
  Mark receiving(receiving_);
  count = 0;
  for (;;) {
    int outcome = 1;
    while (count < into.size()) {
      forget_errors();
      size_t got = 0;
      outcome = SSL_read_ex(ssl_.get(), static_cast<char*>(into.data()) + count,
                            into.size() - count, &got);
      if (outcome != 1) break;
      count += got;
    }
    error_code problem = outcome == 1 ? error_code() : problem_of(outcome);
    // What reading has to say itself, of new keys or of a failure. Whoever sends just now takes it
    // along, unless the other side demands ever more of it and reads none.
    size_t said = BIO_ctrl_pending(out_);
    if (said > kSentAtOnce || (said > 0 && !putting_)) {
      error_code error = co_await put_records(socket);
      if (error && count == 0) co_return error;
    }
    // What has come is whole; a problem behind it is met again.
    if (count > 0) co_return error_code();
    if (problem) co_return problem;
    error_code error = co_await take_records(socket);
    if (error) co_return error;
  }
}

Task<void> Layer::finish(Socket& socket, http::Ending ending) {
  forget_errors();
  int outcome = SSL_shutdown(ssl_.get());
  if (outcome < 0) co_return;
  (void)co_await put_records(socket);
  // The notice went out at once; what is waited for is the other side's own, where nobody reads it.
  if (outcome == 1 || receiving_ || ending == http::Ending::half) co_return;
  auto waiting = wait_for_goodbye(socket);
  (void)co_await with_deadline(kFinishPatience, std::move(waiting));
}

Task<Result<void>> Layer::wait_for_goodbye(Socket& socket) {
  Mark receiving(receiving_);
  for (;;) {
    error_code error = co_await take_records(socket);
    if (error) co_return ok();
    forget_errors();
    int outcome = SSL_shutdown(ssl_.get());
    if (outcome == 1 || problem_of(outcome)) co_return ok();
  }
}

}  // namespace hako::tls
