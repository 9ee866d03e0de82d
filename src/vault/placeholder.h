// What a box holds in the place of a secret.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "vault/master_key.h"

namespace hako::vault {

/// What may be known of a value: enough for a program that looks at its key before it uses it, and
/// for nobody to guess it by.
struct Shape {
  enum class Alphabet { digits, hex, lower, upper, mixed };
  std::string prefix;  ///< a well-known one, "sk-ant-api03-"; empty for anything else
  size_t length = 0;   ///< of the whole, bytes
  Alphabet alphabet = Alphabet::mixed;
  bool operator==(const Shape&) const = default;
};

/// Only prefixes of kinds of keys count: of "correct-horse" nothing is taken but the length.
/// A placeholder is never so short that it could come about by chance: 20 letters behind the
/// prefix at least, 512 bytes at most.
Shape shape_of(std::string_view value);

/// As text for the store, and back; nothing for what is not ours.
std::string to_text(const Shape& shape);
std::optional<Shape> shape_from(std::string_view text);

/// The same every time for the same box and secret, another for any other, and no help in finding
/// either the value or the master key.
std::string placeholder(const MasterKey& master, std::string_view box, std::string_view secret,
                        const Shape& shape);

}  // namespace hako::vault
