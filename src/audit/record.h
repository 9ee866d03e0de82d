// One thing that happened, as it is written down for ever.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hako::audit {

/// Texts may come from guests and tenants: they are escaped and bounded when the record is written
/// (kLongestText each, kMostDetails of them), never before, and can forge nothing. Secrets must not
/// be put in; what has the form of a key or token is masked all the same.
struct Record {
  static constexpr size_t kLongestText = 2048;  ///< bytes; longer ones are cut, and say so
  static constexpr size_t kMostDetails = 16;

  int64_t time_ms = 0;  ///< Unix; 0: when it is written
  std::string tenant;
  std::string actor;  ///< "key k1", "token k1.ab12", "operator", "node", "gate", "box iabc"
  std::string user;
  std::string agent;
  std::string action;   ///< "sandbox.create", "command.start", "file.write", "egress.tcp", ...
  std::string sandbox;  ///< empty for none
  std::string outcome;  ///< "ok", "denied", "failed"
  std::string reason;   ///< the rule or error; empty for none
  std::string label;    ///< how confidential the record itself is: that of its box; empty: public
  std::string source;   ///< the caller's address; empty if unknown
  std::string request;  ///< X-Request-Id
  std::vector<std::pair<std::string, std::string>> details;  ///< what else: "command", "path", ...
};

}  // namespace hako::audit
