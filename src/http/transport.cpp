#include "http/transport.h"

#include <sys/socket.h>

#include <boost/beast/http/status.hpp>

#include <array>
#include <charconv>

namespace hako::http::detail {

using boost::system::error_code;

Task<error_code> send_all(Stream& stream, std::span<const asio::const_buffer> pieces) {
  if (auto* layer = stream.layer()) return layer->send(stream, pieces);
  return send_bytes(stream, pieces);
}

Task<error_code> receive(Stream& stream, asio::mutable_buffer into, size_t& count) {
  if (auto* layer = stream.layer()) return layer->receive(stream, into, count);
  return receive_bytes(stream, into, count);
}

namespace {

Task<Result<void>> drain_bytes(Stream& stream, size_t bytes) {
  std::array<char, 4096> buffer;
  while (bytes > 0) {
    size_t count = 0;
    error_code error = co_await receive(stream, asio::buffer(buffer), count);
    if (error) break;
    bytes -= std::min(bytes, count);
  }
  co_return ok();
}

}  // namespace

Task<void> drain(Stream& stream, size_t bytes, Duration limit) {
  auto work = drain_bytes(stream, bytes);
  (void)co_await with_deadline(limit, std::move(work));
}

Error broken(const error_code& error) {
  if (error == asio::error::eof) return Error(ErrorCode::unavailable, "connection closed");
  return Error(ErrorCode::unavailable, "connection broke: " + error.message());
}

bool is_connection_field(Field field) {
  switch (field) {
    case Field::connection:
    case Field::keep_alive:
    case Field::proxy_connection:
    case Field::te:
    case Field::trailer:
    case Field::transfer_encoding:
    case Field::upgrade:
      return true;
    default:
      return false;
  }
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  constexpr std::string_view kBreaks("\r\n\0", 3);
  if (name.empty() || name.find_first_of(kBreaks) != name.npos ||
      value.find_first_of(kBreaks) != value.npos)
    return;
  out.append(name).append(": ").append(value).append("\r\n");
}

void append_fields(std::string& out, const Fields& fields) {
  for (const auto& field : fields) {
    if (is_connection_field(field.name()) || field.name() == Field::content_length) continue;
    append_field(out, {field.name_string().data(), field.name_string().size()},
                 {field.value().data(), field.value().size()});
  }
}

std::string_view reason_of(unsigned status) {
  auto known = boost::beast::http::int_to_status(status);
  if (known == boost::beast::http::status::unknown) return "Status";
  auto text = boost::beast::http::obsolete_reason(known);
  return {text.data(), text.size()};
}

void append_status_line(std::string& out, unsigned status) {
  char digits[3] = {static_cast<char>('0' + status / 100 % 10),
                    static_cast<char>('0' + status / 10 % 10),
                    static_cast<char>('0' + status % 10)};
  out.append("HTTP/1.1 ").append(digits, 3).append(" ").append(reason_of(status)).append("\r\n");
}

std::optional<uint64_t> content_length_of(const Fields& fields) {
  auto found = fields.find(Field::content_length);
  if (found == fields.end()) return std::nullopt;
  auto text = found->value();
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::string_view chunk_header(uint64_t size, std::span<char, 20> room) {
  auto [end, error] = std::to_chars(room.data(), room.data() + 16, size, 16);
  *end++ = '\r';
  *end++ = '\n';
  return {room.data(), static_cast<size_t>(end - room.data())};
}

using TimePoint = asio::steady_timer::time_point;

struct Watchdog::State : std::enable_shared_from_this<State> {
  State(Stream& guarded) : timer(guarded.get_executor()), stream(&guarded) {}

  asio::steady_timer timer;
  Stream* stream;
  TimePoint deadline = TimePoint::max();
  TimePoint armed = TimePoint::max();
  bool fired = false;

  void arm(TimePoint when) {
    armed = when;
    timer.expires_at(when);
    timer.async_wait([self = shared_from_this(), when](const error_code&) {
      if (self->stream && self->armed == when) self->check();
    });
  }

  void check() {
    armed = TimePoint::max();
    if (deadline == TimePoint::max()) return;
    if (TimePoint::clock::now() < deadline) return arm(deadline);
    fired = true;
    ::shutdown(stream->native_handle(), SHUT_RDWR);  // whoever waits on it wakes
  }
};

Watchdog::Watchdog(Stream& stream) : state_(std::make_shared<State>(stream)) {}

Watchdog::~Watchdog() {
  release();
}

void Watchdog::allow(Duration time) {
  state_->deadline = TimePoint::clock::now() + time;
  if (state_->deadline < state_->armed) state_->arm(state_->deadline);
}

void Watchdog::relax() {
  state_->deadline = TimePoint::max();
}

bool Watchdog::fired() const {
  return state_->fired;
}

void Watchdog::release() {
  state_->stream = nullptr;
  state_->timer.cancel();
}

}  // namespace hako::http::detail
