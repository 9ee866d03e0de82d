// The part of Passage that holds TLS to its name.
#include "gate/egress_box.h"
#include "gate/passage.h"
#include "wire/client_hello.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

/// By then a server has answered a hello.
constexpr Duration kReplyTime = 30s;

}  // namespace

std::optional<Passage::Refusal> Passage::refusal_of_tls(const Result<Opening>& opening) {
  if (!opening) {
    bool late = opening.error().code() == ErrorCode::timed_out;
    return Refusal{kSniRule, late ? kLateOpening : opening.error().message()};
  }
  if (opening.value().kind == Opening::Kind::agreed) return std::nullopt;
  return Refusal{opening.value().rule, opening.value().reason};
}

Task<void> Passage::pass_tls(Addresses addresses) {
  auto reading = read_opening(judge_tls);
  auto opening = co_await with_deadline(kOpeningTime, std::move(reading));
  if (cut_) co_return;
  auto refusal = refusal_of_tls(opening);
  if (refusal) co_return co_await refuse(std::move(*refusal));
  if (!co_await connect(std::move(addresses))) co_return;
  auto begun = co_await begin_tls(opening.value().size);
  if (begun) co_return co_await relay(*upstream_);
  if (end_reason_.empty()) end_reason_ = begun.error().message();
}

Task<Result<void>> Passage::begin_tls(size_t size) {
  std::string held = pending_.substr(size);
  pending_.resize(size);
  HAKO_CO_TRYV(co_await send_pending());
  pending_ = std::move(held);
  auto passing = pass_hello_reply();
  auto again = co_await with_deadline(kReplyTime, std::move(passing));
  if (cut_) co_return Error(ErrorCode::cancelled, end_reason_);
  if (!again) {
    bool late = again.error().code() == ErrorCode::timed_out;
    end_reason_ = late ? "the server did not answer in time" : again.error().message();
    co_return again.error();
  }
  if (again.value()) {
    // Servers go by the name in this one, which need not be that of the first.
    auto reading = read_opening(judge_second_hello);
    auto opening = co_await with_deadline(kOpeningTime, std::move(reading));
    if (cut_) co_return Error(ErrorCode::cancelled, end_reason_);
    if (auto refusal = refusal_of_tls(opening)) {
      note_denied(*refusal);
      end_reason_ = refusal->reason;
      co_return Error(ErrorCode::permission_denied, refusal->reason);
    }
  }
  co_return co_await send_pending();
}

Task<Result<bool>> Passage::pass_hello_reply() {
  std::vector<uint8_t> reply;
  for (;;) {
    auto kind = wire::read_hello_reply(reply);
    if (kind != wire::HelloReply::incomplete) co_return kind == wire::HelloReply::retry;
    HAKO_CO_TRY(size_t count, co_await pass_piece_in(reply));
    if (count == 0) co_return false;
  }
}

}  // namespace hako::gate
