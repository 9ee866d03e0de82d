#include "audit/text.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace hako::audit {
namespace {

constexpr uint32_t kReplacement = 0xfffd;

/// Takes the character at the start of `text` off it, by RFC 3629: no surrogates, nothing longer
/// than it need be. A byte that begins none is the replacement character.
uint32_t take_character(std::string_view& text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  size_t length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  uint32_t value = first < 0x80 ? first : first & (0xffu >> (length + 1));
  bool good = (first < 0x80 || first >= 0xc2) && first <= 0xf4 && text.size() >= length;
  for (size_t i = 1; good && i < length; ++i) {
    good = (byte(i) & 0xc0) == 0x80;
    value = (value << 6) | (byte(i) & 0x3f);
  }
  constexpr std::array<uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  good = good && value >= kLeast[length] && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
  text.remove_prefix(good ? length : 1);
  return good ? value : kReplacement;
}

void append_unit(std::string& out, uint32_t unit) {
  constexpr char kHex[] = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kHex[(unit >> shift) & 15];
}

void append_character(std::string& out, uint32_t character) {
  if (character == '"' || character == '\\') {
    out += '\\';
    out += static_cast<char>(character);
  } else if (character >= 0x20 && character <= 0x7e) {
    out += static_cast<char>(character);
  } else if (character == '\n') {
    out += "\\n";
  } else if (character == '\t') {
    out += "\\t";
  } else if (character < 0x10000) {
    append_unit(out, character);
  } else {
    append_unit(out, 0xd800 + ((character - 0x10000) >> 10));
    append_unit(out, 0xdc00 + ((character - 0x10000) & 0x3ff));
  }
}

}  // namespace

void append_quoted(std::string& out, std::string_view text, size_t longest, size_t whole) {
  size_t given = text.size();
  out += '"';
  while (!text.empty() && given - text.size() < longest) {
    std::string_view before = text;
    uint32_t character = take_character(text);
    if (given - text.size() > longest) {  // it would be cut in two
      text = before;
      break;
    }
    append_character(out, character);
  }
  whole = std::max(whole, given);
  if (!text.empty() || whole > given) out += "...[" + std::to_string(whole) + " bytes]";
  out += '"';
}

}  // namespace hako::audit
