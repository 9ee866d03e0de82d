// The half of Passage that moves bytes: what a client says first, and what passes after that.
#include "base/async/both.h"
#include "base/async/run_until.h"
#include "gate/egress_box.h"
#include "gate/metered_stream.h"
#include "gate/passage.h"
#include "gate/plain_http.h"
#include "gate/upstream.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using boost::system::error_code;

constexpr Duration kConnectPatience = 10s;
constexpr Duration kSendTime = 30s;
constexpr size_t kReadSize = 4 << 10;

Task<Result<void>> send_all(http::Stream& stream, asio::const_buffer bytes) {
  error_code error;
  co_await asio::async_write(stream, bytes, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error::from_errno(error.value(), "send");
  co_return ok();
}

Task<void> end_of(asio::steady_timer& timer) {
  error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

Task<Result<void>> Passage::connect(Addresses addresses) {
  if (connection_ == 0) note_allowed();
  // Asked again for each: a policy may have changed since.
  MayTry may_try = [this](const asio::ip::address& address) {
    policy::Destination there{destination_.name, address, destination_.port};
    return !cut_ && box_.may_connect(there).allowed;
  };
  auto connected = co_await connect_out(upstream_, std::move(addresses), destination_.port,
                                        kConnectPatience, may_try);
  if (cut_) co_return Error(ErrorCode::cancelled, end_reason_);
  if (!connected) {
    end_reason_ = connected.error().message();
    co_return connected.error();
  }
  destination_.address = connected.value();
  co_return ok();
}

Task<Result<Opening>> Passage::read_opening(Judge judge) {
  for (;;) {
    Opening opening = judge(pending_, expected());
    if (opening.kind != Opening::Kind::incomplete) co_return opening;
    size_t had = pending_.size();
    pending_.resize(had + kReadSize);
    error_code error;
    size_t count = co_await client_.async_read_some(
        asio::buffer(pending_.data() + had, kReadSize),
        asio::redirect_error(asio::use_awaitable, error));
    pending_.resize(had + count);
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) co_return Error(ErrorCode::unavailable, "the client ended before it said for whom");
    meter_.count(Way::out, count);
    co_await meter_.pace();
  }
}

Task<void> Passage::pass_watched(Addresses addresses) {
  if (!co_await connect(addresses)) co_return;
  relaying_ = true;
  auto in = pass_in_until_stopped();
  auto out = pass_out_watched(addresses);
  auto ended = co_await both(std::move(out), std::move(in));
  if (cut_ || ended_well_) co_return;
  ended_well_ = ended.has_value() && end_reason_.empty();
  if (end_reason_.empty())
    end_reason_ = ended ? "both sides have ended" : ended.error().message();
}

Task<Result<void>> Passage::pass_in() {
  // The first piece is counted as it is taken, so that stop_in() leaves no doubt whether the
  // server has spoken.
  std::vector<uint8_t> first;
  HAKO_CO_TRYV(co_await pass_piece_in(first));
  co_return co_await splice_one_way(*upstream_, client_, box_.commons().pipes, meter_, Way::in);
}

Task<Result<void>> Passage::pass_in_until_stopped() {
  struct Note {
    bool& ended;
    ~Note() { ended = true; }
  } note{in_ended_};
  auto passing = pass_in();
  auto stop = end_of(in_may_pass_);
  auto ended = co_await run_until(std::move(stop), std::move(passing));
  if (ended) co_return std::move(*ended);
  co_return ok();
}

Task<void> Passage::stop_in() {
  in_may_pass_.expires_at(Clock::time_point::min());
  while (!in_ended_) co_await asio::post(client_.get_executor(), asio::use_awaitable);
}

Task<Result<void>> Passage::pass_out_watched(const Addresses& addresses) {
  // Whoever lets the server speak first may take its time.
  error_code error;
  co_await client_.async_wait(http::Stream::wait_read,
                              asio::redirect_error(asio::use_awaitable, error));
  if (error) throw boost::system::system_error(error);
  auto reading = read_opening(judge_opening);
  auto read = co_await with_deadline(kOpeningTime, std::move(reading));
  if (cut_) co_return Error(ErrorCode::cancelled, end_reason_);
  // What has ended without being anything can become nothing.
  Opening opening;
  opening.kind = Opening::Kind::other;
  if (read)
    opening = std::move(read).value();
  else if (read.error().code() == ErrorCode::timed_out)
    opening = {Opening::Kind::refused, kHostRule, kLateOpening};
  if (opening.kind == Opening::Kind::other) {
    HAKO_CO_TRYV(co_await send_pending());
    co_return co_await splice_one_way(client_, *upstream_, box_.commons().pipes, meter_, Way::out);
  }
  co_await stop_in();
  if (cut_) co_return Error(ErrorCode::cancelled, end_reason_);
  // The server's answer to a hello could not be told from what it had said before.
  if (opening.kind == Opening::Kind::agreed && meter_.in() > 0)
    opening = {Opening::Kind::refused, kSniRule, "TLS after the server has spoken"};
  if (opening.kind == Opening::Kind::refused) {
    Refusal refusal{opening.rule, opening.reason};
    note_denied(refusal);
    co_return Error(ErrorCode::permission_denied, opening.reason);
  }
  if (opening.kind == Opening::Kind::agreed) {
    HAKO_CO_TRYV(co_await begin_tls(opening.size));
    co_await relay(*upstream_);
    co_return ok();
  }
  if (meter_.in() > 0) upstream_.reset();
  co_await serve_http(addresses);
  co_return ok();
}

Task<void> Passage::pass_http(Addresses addresses) {
  note_allowed();
  relaying_ = true;
  co_await serve_http(std::move(addresses));
}

Task<void> Passage::serve_http(Addresses addresses) {
  if (!keep_handle(client_handle_, client_)) co_return;
  meter_stream(client_, meter_, std::exchange(pending_, {}));
  PlainHttp way;
  way.expected = expected();
  way.connect = [this, addresses] { return connect_for_http(addresses); };
  if (!box_.policy().intercept.empty()) {
    way.secrets = [this] {
      std::string box = box_.id();
      return box_.commons().broker.secrets(std::move(box));
    };
  }
  way.refused = [this](const std::string& reason) { note_denied({kHostRule, reason}); };
  co_await relay_http(std::move(client_), std::move(way));
  ended_well_ = !cut_;
  if (!cut_) end_reason_ = "both sides have ended";
}

Task<Result<http::Stream>> Passage::connect_for_http(Addresses addresses) {
  if (!upstream_) {
    HAKO_CO_TRYV(co_await connect(std::move(addresses)));
  }
  http::Stream stream = std::move(*upstream_);
  upstream_.reset();
  if (!keep_handle(upstream_handle_, stream))
    co_return Error(ErrorCode::resource_exhausted, end_reason_);
  co_return stream;
}

Task<Result<void>> Passage::send_pending() {
  std::string bytes = std::exchange(pending_, {});
  auto sending = send_all(*upstream_, asio::buffer(bytes));
  auto sent = co_await with_deadline(kSendTime, std::move(sending));
  if (!sent) end_reason_ = sent.error().message();
  co_return sent;
}

Task<Result<size_t>> Passage::pass_piece_in(std::vector<uint8_t>& seen) {
  size_t had = seen.size();
  seen.resize(had + kReadSize);
  error_code error;
  size_t count = co_await upstream_->async_read_some(
      asio::buffer(seen.data() + had, kReadSize), asio::redirect_error(asio::use_awaitable, error));
  seen.resize(had + count);
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error == asio::error::eof) co_return size_t{0};
  if (error) co_return Error::from_errno(error.value(), "receive");
  meter_.count(Way::in, count);
  HAKO_CO_TRYV(co_await send_all(client_, asio::buffer(seen.data() + had, count)));
  co_await meter_.pace();
  if (meter_.spent()) co_return Error(ErrorCode::resource_exhausted, "all bytes are used up");
  co_return count;
}

Task<void> Passage::relay(http::Stream& upstream) {
  relaying_ = true;
  auto end = co_await relay_splice(client_, upstream, box_.commons().pipes, meter_);
  if (cut_) co_return;
  ended_well_ = end.orderly;
  end_reason_ = std::move(end.reason);
}

Expected Passage::expected() {
  Expected expected;
  // One that is only watched may be for anybody without secrets.
  if (agrees_) expected.name = destination_.name;
  expected.may_hide = !agrees_;
  expected.port = destination_.port;
  expected.may_name = [this](const std::string& said) {
    if (!may_name(said)) return false;
    said_ = said;
    return true;
  };
  return expected;
}

bool Passage::port_has_secrets() const {
  return std::ranges::any_of(box_.policy().intercept, [this](const auto& host) {
    return host.ports.contains(destination_.port);
  });
}

bool Passage::may_name(const std::string& said) const {
  if (policy::must_intercept(box_.policy(), said, destination_.port)) return false;
  if (!agrees_) return true;
  if (said == destination_.address->to_string()) return true;
  policy::Destination named{said, destination_.address, destination_.port};
  return box_.may_connect(named).allowed;
}

}  // namespace hako::gate
