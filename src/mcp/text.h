// Bytes from boxes as text for models. Pure.
#pragma once

#include <string>
#include <string_view>

namespace hako::mcp {

/// How many of the first `most` bytes of `text` do not cut a UTF-8 character in two.
size_t whole_characters(std::string_view text, size_t most);
/// How much of `text` there is before a UTF-8 character whose end is missing; else all of it.
size_t whole_size(std::string_view text);
/// The end of `text`, at most so many bytes, without a part of a character at its beginning.
std::string_view ending(std::string_view text, size_t most);

/// The beginning and the end of a stream that is too long to be kept whole.
class Shown {
 public:
  /// At most so many bytes are kept.
  explicit Shown(size_t most) : most_(most) {}

  void add(std::string_view bytes);
  uint64_t total() const { return total_; }
  /// Whether something between the two is missing.
  bool is_cut() const { return total_ > most_; }
  /// All of it, or the beginning; valid UTF-8.
  std::string beginning() const;
  /// The end of what is cut; empty else.
  std::string end() const;
  /// Where in the stream beginning() ends.
  uint64_t next_offset() const;
  /// The last line that is not empty, for people: printable and short.
  std::string last_line() const;

 private:
  size_t beginning_size() const;

  size_t most_;
  uint64_t total_ = 0;
  std::string first_, last_;
};

}  // namespace hako::mcp
