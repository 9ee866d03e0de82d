// Who makes a request, and what they may do. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/egress_plan.h"
#include "policy/permission.h"
#include "store/store.h"

namespace hako::api {

/// Who makes a request, and everything that they may do.
struct Principal {
  std::string key_id;
  std::string token_id;  ///< the token's identifier; empty for the key itself
  std::string user;      ///< whose key it is, for people to read
  std::string tenant;    ///< where they act
  std::string agent;     ///< as which agent; empty: the whole tenant
  bool is_operator = false;  ///< the platform's own
  /// Platform, tenant, key and the token's caveats. The request's own narrowing is not in it.
  policy::Permission permission;
  policy::Label clearance = policy::Label::public_data;  ///< what the permission leaves of it
  std::vector<std::string> budgets;  ///< of the layers that count boxes, in their order
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
