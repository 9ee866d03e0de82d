#include "base/encoding.h"

#include <array>
#include <cstdint>

namespace hako {
namespace {

constexpr char kHex[] = "0123456789abcdef";
constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kInvalid = 0xff;

constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr std::array<uint8_t, 256> make_base64_values() {
  std::array<uint8_t, 256> values{};
  for (auto& value : values) value = kInvalid;
  for (uint8_t i = 0; i < 64; ++i) values[static_cast<uint8_t>(kBase64[i])] = i;
  values['-'] = 62;
  values['_'] = 63;
  return values;
}
constexpr auto kBase64Values = make_base64_values();

}  // namespace

namespace {

/// Length of the valid UTF-8 sequence at `position`, or 0.
size_t utf8_sequence(std::string_view text, size_t position) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[position + i]); };
  uint8_t first = byte(0);
  if (first < 0x80) return 1;
  size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                  : first >= 0xe0 && first <= 0xef ? 3
                  : first >= 0xf0 && first <= 0xf4 ? 4
                                                   : 0;
  if (length == 0 || position + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  uint8_t second = byte(1);
  // Overlong forms, surrogates, and what lies above U+10FFFF.
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
    return 0;
  return length;
}

}  // namespace

std::string valid_utf8(std::string text) {
  for (size_t position = 0; position < text.size();) {
    size_t length = utf8_sequence(text, position);
    if (length == 0) {
      text[position] = '?';
      length = 1;
    }
    position += length;
  }
  return text;
}

std::string hex_encode(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (unsigned char byte : bytes) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

std::optional<std::string> hex_decode(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    int high = hex_value(text[i]), low = hex_value(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes += static_cast<char>(high << 4 | low);
  }
  return bytes;
}

std::string base64_encode(std::string_view bytes) {
  std::string text;
  base64_append(text, bytes);
  return text;
}

void base64_append(std::string& out, std::string_view bytes) {
  size_t start = out.size();
  out.resize(start + (bytes.size() + 2) / 3 * 4);
  char* to = out.data() + start;
  auto from = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t whole = bytes.size() / 3 * 3;
  for (size_t i = 0; i < whole; i += 3) {
    uint32_t v = uint32_t{from[i]} << 16 | uint32_t{from[i + 1]} << 8 | from[i + 2];
    *to++ = kBase64[v >> 18];
    *to++ = kBase64[v >> 12 & 63];
    *to++ = kBase64[v >> 6 & 63];
    *to++ = kBase64[v & 63];
  }
  size_t rest = bytes.size() - whole;
  if (rest == 0) return;
  uint32_t v = uint32_t{from[whole]} << 16 | (rest == 2 ? uint32_t{from[whole + 1]} << 8 : 0);
  *to++ = kBase64[v >> 18];
  *to++ = kBase64[v >> 12 & 63];
  *to++ = rest == 2 ? kBase64[v >> 6 & 63] : '=';
  *to++ = '=';
}

std::optional<std::string> base64_decode(std::string_view text) {
  size_t padding = 0;
  for (; padding < 2 && !text.empty() && text.back() == '='; ++padding) text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  if (padding != 0 && (text.size() + padding) % 4 != 0) return std::nullopt;
  std::string bytes;
  bytes.resize(text.size() / 4 * 3 + (text.size() % 4 ? text.size() % 4 - 1 : 0));
  char* to = bytes.data();
  uint32_t bits = 0;
  int count = 0;
  for (unsigned char c : text) {
    uint8_t value = kBase64Values[c];
    if (value == kInvalid) return std::nullopt;
    bits = bits << 6 | value;
    if (++count == 4) {
      *to++ = static_cast<char>(bits >> 16);
      *to++ = static_cast<char>(bits >> 8);
      *to++ = static_cast<char>(bits);
      bits = 0;
      count = 0;
    }
  }
  if (count == 2) {
    if (bits & 0xf) return std::nullopt;
    *to++ = static_cast<char>(bits >> 4);
  } else if (count == 3) {
    if (bits & 0x3) return std::nullopt;
    *to++ = static_cast<char>(bits >> 10);
    *to++ = static_cast<char>(bits >> 2);
  }
  return bytes;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      if (i + 2 >= text.size()) return std::nullopt;
      int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high << 4 | low);
      i += 2;
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += "0123456789ABCDEF"[c >> 4];
      out += "0123456789ABCDEF"[c & 15];
    }
  }
  return out;
}

}  // namespace hako
