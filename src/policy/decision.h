// The answer of every rule: allowed or not, and why.
#pragma once

#include <string>

namespace hako::policy {

/// Value type. `reason` and `remedy` are sentences for whoever asked.
struct Decision {
  bool allowed = true;
  std::string rule;    ///< stable name of the rule that decided ("limits.memory")
  std::string reason;  ///< why
  std::string remedy;  ///< what would have to change; empty when allowed

  /// "<reason>; <remedy>", for an error message.
  std::string explanation() const { return remedy.empty() ? reason : reason + "; " + remedy; }

  static Decision allow(std::string rule, std::string reason) {
    return {true, std::move(rule), std::move(reason), {}};
  }
  static Decision deny(std::string rule, std::string reason, std::string remedy) {
    return {false, std::move(rule), std::move(reason), std::move(remedy)};
  }
};

}  // namespace hako::policy
