#include "policy/label.h"

namespace hako::policy {

std::string_view to_string(Label label) {
  switch (label) {
    case Label::public_data:
      return "public";
    case Label::internal:
      return "internal";
    case Label::confidential:
      return "confidential";
    case Label::secret:
      return "secret";
  }
  return "secret";
}

std::optional<Label> label_from(std::string_view word) {
  for (Label label : kLabels) {
    if (word == to_string(label)) return label;
  }
  return std::nullopt;
}

}  // namespace hako::policy
