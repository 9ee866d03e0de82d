// Who makes a request, and what that key may read. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/egress_plan.h"
#include "store/store.h"

namespace hako::api {

/// The key behind a request.
struct Principal {
  std::string key_id;
  policy::Label clearance = policy::Label::public_data;
};

/// A label as the store has it. One that nobody knows is the highest: it closes what it is on.
inline policy::Label label_of(std::string_view stored) {
  return policy::label_from(stored).value_or(policy::Label::secret);
}

/// A clearance as the store has it. One that nobody knows is the lowest.
inline policy::Label clearance_of(std::string_view stored) {
  return policy::label_from(stored).value_or(policy::Label::public_data);
}

/// Whether what has this label exists for `who`.
inline bool may_see(const Principal& who, std::string_view stored_label) {
  return policy::may_read(who.clearance, label_of(stored_label)).allowed;
}

/// The labels of all that exists for `who`, as the store has them.
inline std::vector<std::string> visible_labels(const Principal& who) {
  std::vector<std::string> visible;
  for (policy::Label label : policy::kLabels) {
    if (policy::may_read(who.clearance, label).allowed) visible.emplace_back(to_string(label));
  }
  return visible;
}

}  // namespace hako::api
