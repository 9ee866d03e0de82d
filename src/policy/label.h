// How confidential something is, and what that closes.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace hako::policy {

/// In rising order. What is asked for nothing is public.
enum class Label { public_data, internal, confidential, secret };

inline constexpr std::array kLabels = {Label::public_data, Label::internal, Label::confidential,
                                       Label::secret};

/// "public", "internal", "confidential", "secret"; the words of the API, the configuration and the
/// records.
std::string_view to_string(Label label);
std::optional<Label> label_from(std::string_view word);

/// What holds both holds the higher one: labels never fall.
constexpr Label high_water(Label a, Label b) {
  return a < b ? b : a;
}

}  // namespace hako::policy
