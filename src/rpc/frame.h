// Frames on the connection between two processes of ours, without any I/O.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace hako::rpc {

inline constexpr size_t kFrameHeader = 8;
inline constexpr size_t kLongestFrame = 8 << 20;
inline constexpr size_t kMostFdsInFrame = 64;
inline constexpr size_t kLongestMethod = 128;

/// One message, as either side says it.
struct Message {
  enum class Kind {
    request,  ///< id, method, body
    answer,   ///< id, body
    failure,  ///< id, error
    notice,   ///< method, body
  };
  Kind kind = Kind::notice;
  uint64_t id = 0;
  std::string method;
  boost::json::object body;
  std::optional<Error> error;
  std::vector<Fd> fds;
};

/// The frame of `message`, descriptors not included (the header counts them).
/// Errors: too_large, invalid_argument (too many descriptors, no method where one is needed).
Result<std::string> encode_frame(const Message& message);

/// Cuts a byte stream into messages and gives each the descriptors it declares. An error is final:
/// the stream has lost its meaning. Bytes are kept as they come, never reserved on the word of a
/// header.
class FrameDecoder {
 public:
  void add_bytes(std::string_view bytes) { buffer_.append(bytes); }
  /// Descriptors that came with the bytes added last, or before the bytes added next.
  void add_fd(Fd fd) { fds_.push_back(std::move(fd)); }

  /// The next whole message; nothing while more bytes are needed.
  /// Errors: too_large; corrupted for a malformed frame, for one that declares descriptors that did
  /// not come, and for descriptors that no frame declares.
  Result<std::optional<Message>> next();

  size_t buffered_bytes() const { return buffer_.size() - consumed_; }
  size_t held_fds() const { return fds_.size(); }

 private:
  void drop_consumed();

  std::string buffer_;
  size_t consumed_ = 0;
  std::deque<Fd> fds_;
};

}  // namespace hako::rpc
