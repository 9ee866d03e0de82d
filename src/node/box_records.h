// What the gate tells about boxes, read as from a gate that has been taken over.
#pragma once

#include <boost/json.hpp>

#include <string>

#include "base/result.h"

namespace hako::node {

inline constexpr size_t kMostBoxRecords = 512;  ///< in one message

/// egress: what boxes have tried to reach. access: who has done what in boxes.
enum class RecordKind { egress, access };

/// One message's content: what has happened at one box.
struct BoxRecords {
  std::string machine;
  std::string box;             ///< as the gate says; nobody has checked that it is the machine's
  boost::json::array records;  ///< each with all members of docs/internal-messages.md, and no other
};

/// Reads the body of `egress.records` or `access.records`. One record that is wrong spoils the
/// message. invalid_argument names the member; too_large for too many records, a text over its
/// length, or more than 1 MiB of text in all.
Result<BoxRecords> parse_box_records(RecordKind kind, const boost::json::object& body);

}  // namespace hako::node
