// What the gate tells about connections out of boxes, read as from a gate that has been taken over.
#pragma once

#include <boost/json.hpp>

#include <string>

#include "base/result.h"

namespace hako::node {

inline constexpr size_t kMostEgressRecords = 512;  ///< in one message

/// One message's content: what one box has tried, and what has become of it.
struct EgressRecords {
  std::string machine;
  std::string box;             ///< as the gate says; nobody has checked that it is the machine's
  boost::json::array records;  ///< each with all members of docs/internal-messages.md, and no other
};

/// Reads the body of `egress.records`. One record that is wrong spoils the message.
/// invalid_argument names the member; too_large for too many records or a text over its length.
/// What it gives is less than 1 MiB of text.
Result<EgressRecords> parse_egress_records(const boost::json::object& body);

}  // namespace hako::node
