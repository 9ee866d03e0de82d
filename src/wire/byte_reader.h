// Reads numbers and pieces in network byte order from bytes that may be cut or hostile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hako::wire {

/// Once something was asked for that is not there, every further answer is zero or empty, and
/// failed() says so: check it once, at the end. What it reads must outlive it.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  std::span<const uint8_t> take(size_t count) {
    if (failed_ || count > left()) {
      failed_ = true;
      return {};
    }
    auto piece = bytes_.subspan(position_, count);
    position_ += count;
    return piece;
  }

  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  uint32_t u24() { return number(3); }
  uint32_t u32() { return number(4); }

  /// A piece with its length before it: a number of 1 or 2 bytes.
  std::span<const uint8_t> take_u8() { return take(u8()); }
  std::span<const uint8_t> take_u16() { return take(u16()); }

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  bool failed() const { return failed_; }
  /// All has been read, and nothing was missing.
  bool at_end() const { return !failed_ && left() == 0; }

 private:
  uint32_t number(size_t count) {
    uint32_t value = 0;
    for (uint8_t byte : take(count)) value = value << 8 | byte;
    return value;
  }

  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
  bool failed_ = false;
};

}  // namespace hako::wire
