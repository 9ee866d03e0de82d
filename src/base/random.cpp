#include "base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>

#include "base/encoding.h"

namespace hako {

std::string random_bytes(size_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    ssize_t n = ::getrandom(bytes.data() + filled, count - filled, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) std::abort();  // a kernel without getrandom: nothing here can be trusted
    filled += static_cast<size_t>(n);
  }
  return bytes;
}

std::string random_hex(size_t bytes) { return hex_encode(random_bytes(bytes)); }

std::string random_lower_alphanumeric(size_t length) {
  constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string text;
  while (text.size() < length) {
    for (unsigned char byte : random_bytes(length)) {
      // 252 is the largest multiple of 36 in a byte: above it some characters would be likelier.
      if (byte < 252 && text.size() < length) text += kAlphabet[byte % 36];
    }
  }
  return text;
}

std::string random_uuid() {
  std::string bytes = random_bytes(16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string hex = hex_encode(bytes);
  for (size_t dash : {20u, 16u, 12u, 8u}) hex.insert(dash, 1, '-');
  return hex;
}

}  // namespace hako
