#include "http/inbound.h"

#include <cstring>

namespace hako::http::detail {

namespace beast_http = boost::beast::http;
using boost::system::error_code;

namespace {

/// Whether a field goes on in the next line. Beast joins such lines; others see a field of its own in
/// the second, or refuse it (RFC 9112, 5.2).
bool has_folded_line(std::string_view head) {
  return head.find("\r\n ") != head.npos || head.find("\r\n\t") != head.npos;
}

}  // namespace

template <bool kRequest>
void Inbound<kRequest>::begin_message(bool head_only) {
  parser_.emplace();
  fault_.reset();
  parser_->header_limit(static_cast<uint32_t>(header_bytes_));
  parser_->body_limit(boost::none);
  parser_->skip(head_only);
}

template <bool kRequest>
Task<error_code> Inbound<kRequest>::fill(Stream& stream) {
  constexpr size_t kFirst = 4 << 10;
  // Asio waits for news from a socket that has said its end; there is none.
  if (ended_) co_return ended_;
  if (start_ == end_) start_ = end_ = 0;
  if (end_ == input_.size()) {
    if (start_ > 0) {
      std::memmove(input_.data(), input_.data() + start_, end_ - start_);
      end_ -= start_;
      start_ = 0;
    } else if (input_.size() < capacity_limit_) {
      input_.resize(std::min(capacity_limit_, std::max(kFirst, input_.size() * 4)));
    } else {
      co_return asio::error::no_buffer_space;
    }
  }
  size_t count = 0;
  auto room = asio::buffer(input_.data() + end_, input_.size() - end_);
  error_code error = co_await receive(stream, room, count);
  end_ += count;
  if (error && error != asio::error::operation_aborted) ended_ = error;
  co_return error;
}

template <bool kRequest>
Task<HeadOutcome> Inbound<kRequest>::read_head(Stream& stream) {
  while (!parser_->is_header_done()) {
    if (has_input()) {
      error_code error;
      size_t used = parser_->put(asio::buffer(input_.data() + start_, end_ - start_), error);
      // Beast takes a head once all of it is there.
      if (kRequest && has_folded_line({input_.data() + start_, used}))
        co_return HeadOutcome::malformed;
      start_ += used;
      if (error == beast_http::error::header_limit) co_return HeadOutcome::too_large;
      if (error && error != beast_http::error::need_more) co_return HeadOutcome::malformed;
      if (!error) continue;
    }
    error_code error = co_await fill(stream);
    if (error == asio::error::no_buffer_space) co_return HeadOutcome::too_large;
    if (error) co_return HeadOutcome::closed;
  }
  co_return HeadOutcome::complete;
}

template <bool kRequest>
Result<size_t> Inbound<kRequest>::step(asio::mutable_buffer into, bool& wants_more) {
  auto& body = parser_->get().body();
  body.data = into.data();
  body.size = into.size();
  body.more = true;
  error_code error;
  size_t used = parser_->put(asio::buffer(input_.data() + start_, end_ - start_), error);
  start_ += used;
  size_t produced = into.size() - body.size;
  wants_more = error == beast_http::error::need_more || (used == 0 && produced == 0);
  if (error && error != beast_http::error::need_more && error != beast_http::error::need_buffer)
    return Error(ErrorCode::corrupted, "malformed message body: " + error.message());
  return produced;
}

template <bool kRequest>
Result<size_t> Inbound<kRequest>::read_at_hand(asio::mutable_buffer into) {
  if (fault_) return *fault_;
  // Chunks may be of one byte each, and whoever passes them on pays for each piece.
  size_t produced = 0;
  bool wants_more = false;
  while (!parser_->is_done() && has_input() && into.size() > 0 && !wants_more) {
    auto count = step(into, wants_more);
    if (!count) {
      fault_ = count.error();
      if (produced == 0) return *fault_;
      break;
    }
    into += count.value();
    produced += count.value();
  }
  return produced;
}

template <bool kRequest>
Task<Result<size_t>> Inbound<kRequest>::read_body(Stream& stream, asio::mutable_buffer into) {
  assert(into.size() > 0);
  // Room for a long body, once it is clear that there is one.
  if (into.size() >= (16 << 10) && input_.size() == end_ && input_.size() < capacity_limit_)
    input_.resize(capacity_limit_);
  for (;;) {
    HAKO_CO_TRY(size_t produced, read_at_hand(into));
    if (produced > 0 || parser_->is_done()) co_return produced;
    error_code error = co_await fill(stream);
    if (error == asio::error::no_buffer_space)
      co_return Error(ErrorCode::corrupted, "malformed message body: endless chunk header");
    if (error == asio::error::eof && parser_->need_eof()) {
      error_code ignored;
      parser_->put_eof(ignored);
      co_return size_t{0};
    }
    if (error) co_return broken(error).with_context("message body cut short");
  }
}

template <bool kRequest>
std::string Inbound<kRequest>::take_input() {
  std::string input(input_.data() + start_, end_ - start_);
  start_ = end_ = 0;
  return input;
}

template class Inbound<true>;
template class Inbound<false>;

}  // namespace hako::http::detail
