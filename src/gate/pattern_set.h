// Finding any of several texts in a stream of bytes. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hako::gate {

/// Looks at each byte once, however many texts there are and wherever pieces begin and end
/// (Aho-Corasick); of bytes that no text may begin before, only at some (the shifts of Wu and Manber,
/// "A fast algorithm for multi-pattern searching", 1994). Immutable once made.
class PatternSet {
 public:
  /// Of all texts together, bytes. Each costs some hundred bytes of memory.
  static constexpr size_t kMostBytes = 128 << 10;

  PatternSet() : PatternSet(std::vector<std::string>()) {}
  /// None may be empty, and all together no longer than kMostBytes.
  explicit PatternSet(const std::vector<std::string>& texts);

  /// How far a stream has been read.
  using Position = uint32_t;
  static constexpr Position kStart = 0;

  struct Found {
    size_t text;  ///< which one: of several that end there, the longest
    size_t end;   ///< where it ends in the bytes, one behind its last
  };
  /// Reads on from `bytes[from]` to the end of the next text, or to the end of the bytes.
  std::optional<Found> next(Position& position, std::string_view bytes, size_t from = 0) const;
  /// How many of the bytes read last may be the beginning of a text.
  size_t open(Position position) const { return states_[position].depth; }
  bool empty() const { return states_.size() == 1; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct State {
    uint32_t depth = 0;
    uint32_t text = kNone;  ///< that ends here
  };
  uint32_t& step(uint32_t state, uint8_t of) { return steps_[state * classes_ + of]; }

  void find_shifts(const std::vector<std::string>& texts);
  /// The first place from `i` on where a text may begin; the end where there is none.
  size_t skip(std::string_view bytes, size_t i) const;
  static size_t pair_of(const char* bytes);

  uint8_t class_of_[256] = {};  ///< 0: in no text
  bool begins_[256] = {};       ///< some text
  size_t classes_ = 1;
  std::vector<State> states_;
  std::vector<uint32_t> steps_;
  size_t window_ = 0;  ///< of so many bytes the last two tell how far the next text is; 0: of none
  std::vector<uint8_t> shifts_;
};

/// What `text` looks like in base64 wherever in a longer one it begins, in both alphabets: the
/// characters that no neighbour changes.
std::vector<std::string> base64_forms(std::string_view text);

}  // namespace hako::gate
