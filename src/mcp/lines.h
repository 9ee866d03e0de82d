// Messages on a stream, one to a line. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hako::mcp {

class LineReader {
 public:
  /// `most`: bytes of the longest line that is kept.
  explicit LineReader(size_t most) : most_(most) {}

  struct Line {
    std::string text;
    bool too_long = false;  ///< then there is no text
  };
  void feed(std::string_view bytes);
  /// The next whole line, without its end; empty ones are passed over.
  std::optional<Line> next();
  /// How much is held, bytes: never much more than `most` and what was fed last.
  size_t held() const { return buffer_.size() - position_; }

 private:
  size_t most_;
  std::string buffer_;
  size_t position_ = 0;  ///< where the next line begins
  size_t looked_ = 0;    ///< up to where there is no end of it
  bool skipping_ = false;
};

}  // namespace hako::mcp
