#include "vault/placeholder.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace hako::vault {
namespace {

constexpr size_t kFewestLetters = 20;
constexpr size_t kLongestPlaceholder = 512;

/// Longer ones before those that they begin with.
constexpr std::array<std::string_view, 26> kPrefixes = {
    "sk-ant-admin01-", "sk-ant-api03-", "sk-ant-oat01-", "sk-ant-", "sk-svcacct-", "sk-admin-",
    "sk-or-v1-",       "sk-proj-",      "sk_live_",      "sk_test_", "sk-",        "gsk_",
    "xai-",            "AIza",          "hf_",           "github_pat_", "ghp_",    "gho_",
    "ghu_",            "ghs_",          "ghr_",          "glpat-",   "npm_",       "pypi-",
    "xoxb-",           "xoxp-",
};

constexpr std::array<std::string_view, 5> kAlphabets = {
    "0123456789",
    "0123456789abcdef",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
};

std::string_view letters_of(Shape::Alphabet alphabet) {
  return kAlphabets[size_t(alphabet)];
}

/// The narrowest that has all letters and digits of the text; others do not count.
Shape::Alphabet alphabet_of(std::string_view text) {
  for (size_t i = 0; i + 1 < kAlphabets.size(); ++i) {
    bool fits = std::all_of(text.begin(), text.end(), [&](char c) {
      return kAlphabets.back().find(c) == std::string_view::npos ||
             kAlphabets[i].find(c) != std::string_view::npos;
    });
    if (fits) return Shape::Alphabet(i);
  }
  return Shape::Alphabet::mixed;
}

}  // namespace

Shape shape_of(std::string_view value) {
  Shape shape;
  for (std::string_view prefix : kPrefixes) {
    if (!value.starts_with(prefix)) continue;
    shape.prefix = prefix;
    break;
  }
  shape.length = std::clamp(value.size(), shape.prefix.size() + kFewestLetters,
                            kLongestPlaceholder);
  shape.alphabet = alphabet_of(value.substr(shape.prefix.size()));
  // A placeholder of digits alone could stand in a body by chance.
  if (shape.alphabet == Shape::Alphabet::digits) shape.alphabet = Shape::Alphabet::hex;
  return shape;
}

std::string to_text(const Shape& shape) {
  return std::to_string(size_t(shape.alphabet)) + ":" + std::to_string(shape.length) + ":" +
         shape.prefix;
}

std::optional<Shape> shape_from(std::string_view text) {
  size_t first = text.find(':');
  size_t second = first == text.npos ? text.npos : text.find(':', first + 1);
  if (second == text.npos) return std::nullopt;
  Shape shape;
  size_t alphabet = 0;
  const char* at = text.data();
  auto a = std::from_chars(at, at + first, alphabet);
  auto b = std::from_chars(at + first + 1, at + second, shape.length);
  if (a.ec != std::errc() || a.ptr != at + first || b.ec != std::errc() || b.ptr != at + second) {
    return std::nullopt;
  }
  shape.prefix = text.substr(second + 1);
  bool known = shape.prefix.empty() ||
               std::find(kPrefixes.begin(), kPrefixes.end(), shape.prefix) != kPrefixes.end();
  if (!known || alphabet >= kAlphabets.size() || shape.length > kLongestPlaceholder ||
      shape.length < shape.prefix.size() + kFewestLetters) {
    return std::nullopt;
  }
  shape.alphabet = Shape::Alphabet(alphabet);
  return shape;
}

std::string placeholder(const MasterKey& master, std::string_view box, std::string_view secret,
                        const Shape& shape) {
  std::string_view letters = letters_of(shape.alphabet);
  size_t count = shape.length - shape.prefix.size();
  std::string about = std::string(box) + '\0' + std::string(secret);
  // Two bytes for each letter: what the remainder favours is then too little to matter.
  std::string bytes = master.derive("placeholder", about, 2 * count);
  std::string text = shape.prefix;
  for (size_t i = 0; i < count; ++i) {
    auto high = static_cast<unsigned char>(bytes[2 * i]);
    auto low = static_cast<unsigned char>(bytes[2 * i + 1]);
    text += letters[size_t(high * 256 + low) % letters.size()];
  }
  return text;
}

}  // namespace hako::vault
