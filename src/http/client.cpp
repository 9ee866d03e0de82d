#include "http/client.h"

#include <sys/socket.h>

#include <cerrno>

#include "http/inbound.h"

namespace hako::http {

using boost::system::error_code;

namespace {

constexpr size_t kLongestResponseHead = 64 << 10;
constexpr size_t kCopiedBody = 16 << 10;
/// Interim responses (100, 103) that are passed over before the real one.
constexpr int kMostInterim = 16;

enum class Sending { idle, counted, chunked };

bool wants_length(Verb method) {
  return method == Verb::post || method == Verb::put || method == Verb::patch;
}

Error head_error(detail::HeadOutcome outcome) {
  if (outcome == detail::HeadOutcome::closed)
    return Error(ErrorCode::unavailable, "connection closed before a response");
  if (outcome == detail::HeadOutcome::too_large)
    return Error(ErrorCode::too_large, "the response's head is too large");
  return Error(ErrorCode::corrupted, "malformed response");
}

}  // namespace

struct Client::Impl {
  explicit Impl(Stream connected) : stream(std::move(connected)) {}

  void compose(const Request& request, std::optional<uint64_t> length) {
    out.clear();
    auto method = boost::beast::http::to_string(request.method);
    if (request.method == Verb::unknown) method = "GET";
    out.append(method.data(), method.size()).append(" ");
    out.append(request.target.empty() ? "/" : request.target).append(" HTTP/1.1\r\n");
    if (request.fields.find(Field::host) == request.fields.end()) out.append("Host: localhost\r\n");
    detail::append_fields(out, request.fields);
    // Of the fields that concern the connection only a wish to upgrade is a caller's affair.
    auto upgrade = request.fields.find(Field::upgrade);
    if (upgrade != request.fields.end()) {
      out.append("Connection: Upgrade\r\n");
      detail::append_field(out, "Upgrade", {upgrade->value().data(), upgrade->value().size()});
    }
    if (length) {
      detail::append_field(out, "Content-Length", std::to_string(*length));
      sending = Sending::counted;
      left = *length;
    } else {
      out.append("Transfer-Encoding: chunked\r\n");
      sending = Sending::chunked;
    }
    out.append("\r\n");
  }

  /// A request without a body says nothing about its length.
  void compose_bodiless(const Request& request) {
    compose(request, 0);
    constexpr std::string_view kLength = "Content-Length: 0\r\n\r\n";
    if (!wants_length(request.method))
      out.replace(out.size() - kLength.size(), kLength.size(), "\r\n");
  }

  void begin_exchange(const Request& request) {
    head_request = request.method == Verb::head;
    head_read = false;
    keeps_alive = false;
  }

  Task<Result<void>> send(std::span<const asio::const_buffer> pieces) {
    if (broken) co_return Error(ErrorCode::unavailable, "connection closed");
    broken = true;  // holds if cancelled half-way
    error_code error = co_await detail::send_all(stream, pieces);
    if (error) {
      co_return detail::broken(error);
    }
    broken = false;
    co_return ok();
  }

  Stream stream;
  detail::Inbound<false> inbound{kLongestResponseHead};
  std::string out;
  Sending sending = Sending::idle;
  uint64_t left = 0;
  bool head_request = false;
  bool head_read = false;
  bool keeps_alive = false;
  bool broken = false;
  bool fresh = true;
};

Client::Client(Stream stream) : impl_(std::make_unique<Impl>(std::move(stream))) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Task<Result<void>> Client::begin(Request request) {
  impl_->fresh = false;
  impl_->begin_exchange(request);
  auto length = detail::content_length_of(request.fields);
  bool coded = request.fields.find(Field::transfer_encoding) != request.fields.end();
  if (!length && !coded && !wants_length(request.method)) {
    impl_->compose_bodiless(request);
  } else {
    impl_->compose(request, length);
  }
  asio::const_buffer head = asio::buffer(impl_->out);
  co_return co_await impl_->send(std::span(&head, 1));
}

Task<Result<void>> Client::write(asio::const_buffer piece) {
  if (piece.size() == 0) co_return ok();
  std::array<char, 20> room;
  std::array<asio::const_buffer, 3> pieces{asio::const_buffer(), piece, asio::const_buffer()};
  if (impl_->sending == Sending::chunked) {
    pieces[0] = asio::buffer(detail::chunk_header(piece.size(), room));
    pieces[2] = asio::buffer("\r\n", 2);
  } else {
    if (impl_->sending == Sending::idle || piece.size() > impl_->left)
      co_return Error(ErrorCode::internal, "request body longer than announced");
    impl_->left -= piece.size();
  }
  co_return co_await impl_->send(pieces);
}

Task<Result<void>> Client::finish() {
  if (impl_->sending == Sending::counted && impl_->left != 0)
    co_return Error(ErrorCode::internal, "request body shorter than announced");
  if (impl_->sending == Sending::chunked) {
    asio::const_buffer end = asio::buffer("0\r\n\r\n", 5);
    HAKO_CO_TRYV(co_await impl_->send(std::span(&end, 1)));
  }
  impl_->sending = Sending::idle;
  co_return ok();
}

Task<Result<ResponseHead>> Client::start(Request request) {
  impl_->fresh = false;
  impl_->begin_exchange(request);
  if (request.body.empty()) {
    impl_->compose_bodiless(request);
  } else {
    impl_->compose(request, request.body.size());
  }
  std::array<asio::const_buffer, 2> pieces{asio::const_buffer(), asio::const_buffer()};
  if (request.body.size() <= kCopiedBody) {
    impl_->out.append(request.body);
  } else {
    pieces[1] = asio::buffer(request.body);
  }
  pieces[0] = asio::buffer(impl_->out);
  auto sent = co_await impl_->send(pieces);
  impl_->left = 0;
  impl_->sending = Sending::idle;
  // A server may answer early and close: what it said is worth more than that it closed.
  auto head = co_await read_head();
  if (!head && !sent) co_return sent.error();
  co_return head;
}

Task<Result<ResponseHead>> Client::read_head() {
  for (int interim = 0; interim < kMostInterim; ++interim) {
    impl_->inbound.begin_message(impl_->head_request);
    auto outcome = co_await impl_->inbound.read_head(impl_->stream);
    if (outcome != detail::HeadOutcome::complete) {
      impl_->broken = true;
      co_return head_error(outcome);
    }
    auto& parser = impl_->inbound.parser();
    unsigned status = parser.get().result_int();
    if (status < 200 && status != 101) continue;
    impl_->head_read = true;
    impl_->keeps_alive = parser.keep_alive() && status != 101;
    ResponseHead head;
    head.status = status;
    head.fields = std::move(static_cast<Fields&>(parser.get()));
    co_return head;
  }
  impl_->broken = true;
  co_return Error(ErrorCode::corrupted, "too many interim responses");
}

Task<Result<size_t>> Client::read_some(asio::mutable_buffer into) {
  if (!impl_->head_read) co_return Error(ErrorCode::failed_precondition, "no response to read");
  auto result = co_await impl_->inbound.read_body(impl_->stream, into);
  if (!result) impl_->broken = true;
  co_return result;
}

Result<size_t> Client::read_at_hand(asio::mutable_buffer into) {
  if (!impl_->head_read) return Error(ErrorCode::failed_precondition, "no response to read");
  auto result = impl_->inbound.read_at_hand(into);
  if (!result) impl_->broken = true;
  return result;
}

Task<Result<Response>> Client::exchange(Request request, size_t limit) {
  HAKO_CO_TRY(auto head, co_await start(std::move(request)));
  Response response;
  response.status = head.status;
  response.fields = std::move(head.fields);
  std::array<char, 8192> buffer;
  for (;;) {
    HAKO_CO_TRY(size_t count, co_await read_some(asio::buffer(buffer)));
    if (count == 0) co_return response;
    if (count > limit - response.body.size()) {
      impl_->broken = true;
      co_return Error(ErrorCode::too_large,
                      "response body over " + std::to_string(limit) + " bytes");
    }
    response.body.append(buffer.data(), count);
  }
}

bool Client::reusable() const {
  if (impl_->broken || impl_->inbound.has_input()) return false;
  if (impl_->fresh) return true;
  return impl_->head_read && impl_->keeps_alive && impl_->inbound.body_done() &&
         impl_->sending == Sending::idle;
}

bool Client::stale() {
  char byte;
  ssize_t n = ::recv(impl_->stream.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

Stream& Client::stream() {
  return impl_->stream;
}

std::pair<Stream, std::string> Client::take_connection() {
  impl_->broken = true;
  std::string pending = impl_->inbound.take_input();
  return {std::move(impl_->stream), std::move(pending)};
}

}  // namespace hako::http
