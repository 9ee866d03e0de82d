// Inside src/http only: the receiving half of a connection.
#pragma once

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "http/transport.h"

namespace hako::http::detail {

enum class HeadOutcome {
  complete,
  closed,     ///< the connection ended, or broke, before a whole head
  too_large,  ///< over the limit for heads
  malformed,  ///< not HTTP, or framed ambiguously
};

/// Turns received bytes into heads and decoded bodies, one message after another. Holds no more
/// than max(header limit, 64 KiB) of input.
template <bool kRequest>
class Inbound {
 public:
  using Parser = boost::beast::http::parser<kRequest, boost::beast::http::buffer_body>;

  explicit Inbound(size_t header_bytes) : header_bytes_(header_bytes) {}

  /// Starts on the next message. `head_only`: it has no body whatever its head says.
  void begin_message(bool head_only = false);
  Task<HeadOutcome> read_head(Stream& stream);
  /// Of the body what has come already, as much as there is room for; 0 if that is nothing, or at its
  /// end. corrupted.
  Result<size_t> read_at_hand(asio::mutable_buffer into);
  /// The next piece of the body; 0 at its end. unavailable, corrupted.
  Task<Result<size_t>> read_body(Stream& stream, asio::mutable_buffer into);

  /// Waits for more input. too_large is the no_buffer_space error.
  Task<boost::system::error_code> fill(Stream& stream);
  bool has_input() const { return start_ != end_; }
  bool body_done() const { return parser_ && parser_->is_done(); }
  Parser& parser() { return *parser_; }
  const Parser& parser() const { return *parser_; }
  /// What came behind a chunked body that is done. The head's own fields have been taken by then.
  const Fields& trailers() const { return parser_->get(); }
  std::string take_input();

 private:
  /// One step over the input at hand: how many body bytes came out.
  Result<size_t> step(asio::mutable_buffer into, bool& wants_more);

  size_t header_bytes_;
  size_t capacity_limit_ = std::max<size_t>(header_bytes_, 64 << 10);
  std::vector<char> input_;
  size_t start_ = 0, end_ = 0;
  boost::system::error_code ended_;  ///< how the input has ended, if it has
  std::optional<Parser> parser_;
  std::optional<Error> fault_;  ///< of the body, met behind what was read of it
};

extern template class Inbound<true>;
extern template class Inbound<false>;

}  // namespace hako::http::detail
