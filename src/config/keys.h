// The settings one by one: where each stands in the file, how it is checked and where it goes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.h"

namespace hako::config {

/// Entries that are no text are empty ones, which no setting takes.
using TextList = std::vector<std::string>;

/// A value from the file or the environment; monostate for a kind that no key takes.
using Value = std::variant<std::monostate, int64_t, bool, std::string, TextList>;

/// A value that was not taken.
struct Refusal {
  std::string expected;
  std::optional<size_t> entry;  ///< the entry of a list that is wrong; nothing: the whole value
};

struct Key {
  const char* section;
  std::string name;
  const char* environment;  ///< variable that overrides the file, or null
  /// Stores a value, or says why not; then the configuration is not to be used.
  std::function<std::optional<Refusal>(Config&, const Value&)> set;
  bool is_text;

  std::string full_name() const { return std::string(section) + "." + name; }
};

/// Everything that can be set, in the order of the documentation.
const std::vector<Key>& keys();

/// Of them [egress] and [labels].
std::vector<Key> egress_keys();

/// Null for an unknown one.
const Key* find_key(std::string_view section, std::string_view name);

}  // namespace hako::config
