// Reading along: the first message of a call to a guest's service, as it passes. No I/O.
#pragma once

#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"
#include "wire/services.h"

namespace hako::gate {

/// Takes what passes piece by piece, and keeps it only until it can be read. Whatever it cannot
/// read, it says so and why; what it can is what the guest reads in the same bytes, with the same
/// code. Changes and delays nothing.
class MessagePeek {
 public:
  static constexpr size_t kLargestMessage = 1 << 20;  ///< bytes
  /// Kept at once by all that share a budget.
  static constexpr size_t kLargestBudget = 4 * kLargestMessage;

  /// `method`: of the call, nothing for a body that is plain JSON. `budget`: how much is kept by
  /// this one and others; outlives it.
  MessagePeek(const http::RequestHead& head, const wire::Method* method, size_t& budget);
  ~MessagePeek();
  MessagePeek(const MessagePeek&) = delete;

  void feed(std::string_view piece);
  /// The body has ended.
  void finish();

  /// Whether all that will ever be known is.
  bool done() const { return message_ || !problem_.empty(); }
  const std::optional<boost::json::object>& message() const { return message_; }
  /// Why there is no message: one short sentence.
  const std::string& problem() const { return problem_; }
  /// Whether the guest may read what was not read here: it is too much, not malformed. Nothing of
  /// such a message should reach it. The HTTP status that says so, or 0.
  unsigned hidden() const { return hidden_; }

 private:
  void take_frame();
  void read(std::string_view payload);
  void fail(std::string problem);
  void fail_as_hidden(unsigned status, std::string problem);
  void fail_as_too_long();
  void forget();

  const wire::Method* method_;
  size_t& budget_;
  bool framed_ = false;
  bool binary_ = false;
  std::string kept_;
  std::optional<boost::json::object> message_;
  std::string problem_;
  unsigned hidden_ = 0;
};

}  // namespace hako::gate
