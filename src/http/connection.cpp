#include "http/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/beast/http/rfc7230.hpp>

#include "base/log.h"
#include "wire/ascii.h"

namespace hako::http::detail {
namespace {

using boost::system::error_code;

/// What is left unread of a request's body is read and dropped up to here, to keep the connection:
/// a client that is still sending would otherwise see a reset in place of its answer.
constexpr size_t kMostDrained = 8 << 20;
constexpr auto kDrainTime = std::chrono::seconds(5);
/// Bodies up to this are copied behind the head, so that a small answer is one buffer.
constexpr size_t kCopiedBody = 16 << 10;

bool has_no_body(unsigned status) {
  return status < 200 || status == 204 || status == 304;
}

}  // namespace

Connection::Connection(Stream stream, const ServerLimits& limits, Seats::Seat* seat)
    : stream_(std::move(stream)),
      limits_(limits),
      seat_(seat),
      watchdog_(stream_),
      inbound_(limits.header_bytes) {}

std::optional<asio::ip::tcp::endpoint> Connection::peer() const {
  error_code error;
  auto endpoint = stream_.remote_endpoint(error);
  if (error) return std::nullopt;
  int family = endpoint.protocol().family();
  if (family != AF_INET && family != AF_INET6) return std::nullopt;
  asio::ip::tcp::endpoint tcp;
  tcp.resize(endpoint.size());
  std::memcpy(tcp.data(), endpoint.data(), endpoint.size());
  return tcp;
}

std::string Connection::peer_address() const {
  auto tcp = peer();
  return tcp ? tcp->address().to_string() : std::string();
}

uint16_t Connection::peer_port() const {
  auto tcp = peer();
  return tcp ? tcp->port() : 0;
}

int Connection::handle() const {
  return const_cast<Stream&>(stream_).native_handle();  // it is had from no const socket
}

std::optional<int> Connection::tcp_state() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(handle(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  return info.tcpi_state;
}

bool Connection::connected() const {
  return tcp_state() != TCP_CLOSE;
}

bool Connection::client_gone() const {
  pollfd poll_fd{handle(), POLLRDHUP, 0};
  return ::poll(&poll_fd, 1, 0) == 1;  // POLLHUP and POLLERR come unasked
}

Task<void> Connection::run(const Handler& handler) {
  auto wait_for_first = std::min(limits_.idle, limits_.header_time);
  watchdog_.allow(wait_for_first);
  while (co_await next_request()) {
    watchdog_.relax();
    if (seat_) seat_->set_busy(true);
    std::exception_ptr fault;
    try {
      co_await handler(*this);
    } catch (...) {
      fault = std::current_exception();
    }
    if (fault) {
      // Asked for without co_await on a coroutine: once cancelled, that would throw.
      auto state = co_await asio::this_coro::cancellation_state;
      judge_fault(fault, state.cancelled() != asio::cancellation_type::none);
    }
    if (taken_) co_return;
    if (stage_ == Stage::waiting && !is_broken())
      co_await answer_fault();
    else if (fault || stage_ == Stage::streaming)
      abort();
    if (!co_await finish_exchange()) co_return;
    if (seat_) seat_->set_busy(false);
    watchdog_.allow(limits_.idle);
  }
}

void Connection::judge_fault(std::exception_ptr fault, bool cancelled) {
  if (cancelled && stage_ == Stage::streaming) abort();
  if (cancelled) throw boost::system::system_error(asio::error::operation_aborted);
  try {
    std::rethrow_exception(fault);
  } catch (const std::exception& error) {
    log_error("request_failed", {{"target", head_.path()}, {"error", error.what()}});
  }
}

Task<bool> Connection::next_request() {
  inbound_.begin_message();
  if (!inbound_.has_input()) {
    error_code error = co_await inbound_.fill(stream_);
    if (error) co_return false;
  }
  watchdog_.allow(limits_.header_time);
  HeadOutcome outcome = co_await inbound_.read_head(stream_);
  if (outcome == HeadOutcome::closed) co_return false;
  if (outcome == HeadOutcome::complete && take_head()) co_return true;
  if (outcome == HeadOutcome::too_large)
    co_await refuse(431, "the request's head is too large");
  else
    co_await refuse(400, "malformed or ambiguous request");
  co_return false;
}

bool Connection::take_head() {
  auto& parser = inbound_.parser();
  auto& message = parser.get();
  // A transfer coding that is not plainly chunked, or of HTTP/1.0: where such a body ends is for
  // the next server to guess, and to guess differently. So with two hosts.
  bool coded = message.find(Field::transfer_encoding) != message.end();
  if (coded && (!parser.chunked() || message.version() < 11)) return false;
  if (message.count(Field::host) > 1) return false;

  version_ = message.version();
  head_.method = message.method();
  head_.method_text.assign(message.method_string().data(), message.method_string().size());
  head_.target.assign(message.target().data(), message.target().size());
  head_.keep_alive = parser.keep_alive();
  head_.fields = std::move(static_cast<Fields&>(message));
  expects_continue_ = false;
  if (version_ >= 11) {
    auto expect = head_.fields.find(Field::expect);
    expects_continue_ =
        expect != head_.fields.end() && wire::equal_ignoring_case(
                                            {expect->value().data(), expect->value().size()},
                                            "100-continue");
  }
  sent_continue_ = false;
  stage_ = Stage::waiting;
  close_after_ = !head_.keep_alive;
  return true;
}

Task<void> Connection::refuse(unsigned status, std::string_view message) {
  if (malformed_) malformed_(message);
  head_ = RequestHead();
  version_ = 11;
  expects_continue_ = false;
  stage_ = Stage::waiting;
  close_after_ = true;
  auto response = error_response(status, message);
  auto sent = co_await respond(std::move(response));
  if (!sent) co_return;
  co_await finish_sending(stream_);
  co_await drain(stream_, kMostDrained, kDrainTime);
}

Task<void> Connection::answer_fault() {
  auto response = error_response(500, "internal error");
  (void)co_await respond(std::move(response));
}

Task<bool> Connection::finish_exchange() {
  if (is_broken()) co_return false;
  bool whole = inbound_.body_done();
  if (!close_after_ && !whole) close_after_ = !co_await drain_request();
  if (!close_after_) co_return true;
  co_await finish_sending(stream_);
  // Closed with something unread, the connection would be reset, and the end of the answer lost with it.
  int unread = 0;
  if (::ioctl(handle(), FIONREAD, &unread) != 0) unread = 0;
  if (!whole || unread > 0) co_await drain(stream_, kMostDrained, kDrainTime);
  co_return false;
}

Task<bool> Connection::drain_request() {
  watchdog_.allow(kDrainTime);
  std::array<char, 16 << 10> buffer;
  size_t dropped = 0;
  while (dropped < kMostDrained) {
    auto piece = co_await inbound_.read_body(stream_, asio::buffer(buffer));
    if (!piece) co_return false;
    if (piece.value() == 0) co_return true;
    dropped += piece.value();
  }
  co_return false;
}

Task<Result<size_t>> Connection::read_some(asio::mutable_buffer into) {
  if (inbound_.body_done()) co_return size_t{0};
  if (expects_continue() && stage_ == Stage::waiting) {
    sent_continue_ = true;
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::const_buffer line = asio::buffer(kContinue);
    HAKO_CO_TRYV(co_await send(std::span(&line, 1)));
  }
  watchdog_.allow(limits_.stall);
  auto result = co_await inbound_.read_body(stream_, into);
  watchdog_.relax();
  if (!result) close_after_ = true;
  co_return result;
}

Task<Result<std::string>> Connection::read_body(size_t limit) {
  std::string body;
  auto too_large = [limit] {
    return Error(ErrorCode::too_large, "body over " + std::to_string(limit) + " bytes");
  };
  auto announced = inbound_.parser().content_length();
  if (announced && *announced > limit) co_return too_large();
  std::array<char, 8192> buffer;
  for (;;) {
    HAKO_CO_TRY(size_t count, co_await read_some(asio::buffer(buffer)));
    if (count == 0) co_return body;
    if (count > limit - body.size()) co_return too_large();
    body.append(buffer.data(), count);
  }
}

void Connection::compose_head(unsigned status, const Fields& fields,
                              std::optional<uint64_t> length) {
  // A client that still waits for our 100 may or may not send its body now: nobody can tell.
  if (!inbound_.body_done() && expects_continue()) close_after_ = true;
  out_.clear();
  append_status_line(out_, status);
  append_fields(out_, fields);
  bool head_request = head_.method == Verb::head;
  body_ = Body::none;
  if (has_no_body(status)) {
    length.reset();
  } else if (length) {
    append_field(out_, "Content-Length", std::to_string(*length));
    if (!head_request) body_ = Body::counted;
    left_ = *length;
  } else if (head_request) {
    // Nothing is known about the length, and nothing will come.
  } else if (version_ >= 11) {
    out_.append("Transfer-Encoding: chunked\r\n");
    body_ = Body::chunked;
  } else {
    body_ = Body::until_close;
    close_after_ = true;
  }
  if (close_after_) {
    out_.append("Connection: close\r\n");
  } else if (version_ < 11) {
    out_.append("Connection: keep-alive\r\n");
  }
  out_.append("\r\n");
}

Task<Result<void>> Connection::send(std::span<const asio::const_buffer> pieces) {
  if (is_broken() || taken_) co_return Error(ErrorCode::unavailable, "connection closed");
  sending_ = true;  // holds if cancelled half-way
  watchdog_.allow(limits_.stall);
  error_code error = co_await send_all(stream_, pieces);
  watchdog_.relax();
  broken_ = broken_ || error;  // it may have been cut meanwhile
  sending_ = false;
  if (error) co_return detail::broken(error);
  co_return ok();
}

Task<Result<void>> Connection::respond(Response response) {
  if (stage_ != Stage::waiting)
    co_return Error(ErrorCode::failed_precondition, "a response has already been sent");
  uint64_t length = response.body.size();
  if (head_.method == Verb::head && length == 0)
    length = content_length_of(response.fields).value_or(0);
  compose_head(response.status, response.fields, length);
  stage_ = Stage::done;
  bool with_body = body_ == Body::counted;
  if (with_body && response.body.size() <= kCopiedBody) {
    out_.append(response.body);
    with_body = false;
  }
  std::array<asio::const_buffer, 2> pieces{asio::buffer(out_), asio::const_buffer()};
  if (with_body) pieces[1] = asio::buffer(response.body);
  co_return co_await send(pieces);
}

Task<Result<void>> Connection::begin(ResponseHead head) {
  return begin_with(std::move(head), asio::const_buffer());
}

Result<void> Connection::count(size_t bytes) {
  if (body_ != Body::counted) return ok();
  if (bytes > left_) return Error(ErrorCode::internal, "response body longer than announced");
  left_ -= bytes;
  return ok();
}

Task<Result<void>> Connection::begin_with(ResponseHead head, asio::const_buffer first) {
  if (stage_ != Stage::waiting)
    co_return Error(ErrorCode::failed_precondition, "a response has already been sent");
  compose_head(head.status, head.fields, content_length_of(head.fields));
  stage_ = Stage::streaming;
  HAKO_CO_TRYV(count(first.size()));
  if (body_ == Body::none) first = asio::const_buffer();
  std::array<asio::const_buffer, 3> pieces{asio::buffer(out_), first, asio::const_buffer()};
  if (body_ == Body::chunked && first.size() > 0) {
    std::array<char, 20> room;
    out_.append(chunk_header(first.size(), room));
    pieces[0] = asio::buffer(out_);
    pieces[2] = asio::buffer("\r\n", 2);
  }
  co_return co_await send(pieces);
}

Task<Result<void>> Connection::write(asio::const_buffer piece) {
  if (stage_ != Stage::streaming)
    co_return Error(ErrorCode::failed_precondition, "no response has begun");
  HAKO_CO_TRYV(count(piece.size()));
  if (piece.size() == 0 || body_ == Body::none) co_return ok();
  std::array<char, 20> room;
  std::array<asio::const_buffer, 3> pieces{asio::const_buffer(), piece, asio::const_buffer()};
  if (body_ == Body::chunked) {
    pieces[0] = asio::buffer(chunk_header(piece.size(), room));
    pieces[2] = asio::buffer("\r\n", 2);
  }
  co_return co_await send(pieces);
}

Task<Result<void>> Connection::end_with(asio::const_buffer last) {
  if (stage_ != Stage::streaming)
    co_return Error(ErrorCode::failed_precondition, "no response has begun");
  HAKO_CO_TRYV(count(last.size()));
  if (body_ == Body::counted && left_ != 0)
    co_return Error(ErrorCode::internal, "response body shorter than announced");
  if (body_ == Body::none) last = asio::const_buffer();
  std::array<char, 20> room;
  std::array<asio::const_buffer, 3> pieces{asio::const_buffer(), last, asio::const_buffer()};
  if (body_ == Body::chunked) {
    if (last.size() > 0) pieces[0] = asio::buffer(chunk_header(last.size(), room));
    std::string_view tail = last.size() > 0 ? "\r\n0\r\n\r\n" : "0\r\n\r\n";
    pieces[2] = asio::buffer(tail);
  }
  HAKO_CO_TRYV(co_await send(pieces));
  stage_ = Stage::done;
  co_return ok();
}

Task<Result<void>> Connection::end() {
  return end_with(asio::const_buffer());
}

void Connection::abort() {
  if (taken_) return;
  broken_ = true;
  if (stage_ == Stage::waiting) stage_ = Stage::done;
  reset_connection(stream_);
}

void Connection::vouch() {
  if (seat_) seat_->vouch();
}

Task<void> Connection::closed_by_client() {
  // What arrives meanwhile is the next request, or a client that has ended. One that sends more
  // than a whole head may take has no business here.
  while (!broken_ && !taken_) {
    error_code error = co_await inbound_.fill(stream_);
    if (error) co_return;
  }
}

void Connection::when_heard(asio::cancellation_slot cancel, std::function<void()> then) {
  auto heard = [then = std::move(then)](const error_code& error) {
    if (error != asio::error::operation_aborted) then();
  };
  stream_.async_wait(Stream::wait_read, asio::bind_cancellation_slot(cancel, std::move(heard)));
}

Exchange::Raw Connection::take_connection() {
  taken_ = true;
  watchdog_.release();
  return Raw{std::move(stream_), inbound_.take_input()};
}

}  // namespace hako::http::detail
