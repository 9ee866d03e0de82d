// What the gate tells of what was done in boxes: commands, files, ports. Pure.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace hako::api {

/// docs/internal-messages.md has the members. Texts are as clients have sent them.
struct AccessRecord {
  int64_t time_ms = 0;
  std::string kind;     ///< "command", "file", "port", "request"
  std::string action;   ///< "start", "read", "write", "reach", ...
  std::string verdict;  ///< "allowed", "denied", "dropped"
  std::string key;      ///< a key's id, a token's identifier, "api", or empty
  std::string user;     ///< in the box
  std::string what;
  std::string detail;
  std::string reason;
  int64_t status = 0;
  int64_t bytes = 0;
  int64_t count = 1;
};

/// A record as the node passes it on. corrupted when it is not one.
Result<AccessRecord> parse_access_record(const boost::json::value& value);

}  // namespace hako::api
