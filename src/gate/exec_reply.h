// What a guest answers to process.Process/Start, read without trusting it. No I/O.
#pragma once

#include "wire/connect.h"

namespace hako::gate {

/// Takes the reply's body in pieces of any size. Holds no more than the output limit and one frame.
class ExecReply {
 public:
  static constexpr size_t kLongestFrame = 1 << 20;

  /// Of the output the last `output_limit` bytes are kept.
  explicit ExecReply(size_t output_limit) : output_limit_(output_limit), decoder_(kLongestFrame) {}

  /// corrupted, too_large, or the error the guest reports.
  Result<void> feed(std::string_view bytes);
  /// The process has ended and the stream has been ended properly.
  bool complete() const { return ended_ && exit_code_.has_value(); }

  int exit_code() const { return exit_code_.value_or(-1); }
  /// stdout and stderr as they came.
  std::string_view output() const;

 private:
  Result<void> take_event(std::string_view payload);

  size_t output_limit_;
  wire::FrameDecoder decoder_;
  std::string output_;
  std::optional<int> exit_code_;
  bool ended_ = false;
};

}  // namespace hako::gate
