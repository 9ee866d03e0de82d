#include "gate/egress_records.h"

namespace hako::gate {
namespace {

/// What the node takes. A reason may quote what the box has sent.
constexpr size_t kLongestName = 255, kLongestRule = 512, kLongestReason = 1024;

}  // namespace

bool EgressRecord::alike(const EgressRecord& other) const {
  return port == other.port && verdict == other.verdict && kind == other.kind &&
         name == other.name && address == other.address && rule == other.rule &&
         reason == other.reason;
}

EgressRecord EgressRecord::dropped(int64_t count) {
  EgressRecord record;
  record.verdict = "dropped";
  record.reason = "more happened than is kept";
  record.count = count;
  return record;
}

boost::json::object to_json(const EgressRecord& record) {
  boost::json::object json;
  json["time_ms"] = to_unix_ms(record.time);
  json["kind"] = record.kind;
  json["name"] = bounded_text(record.name, kLongestName);
  json["address"] = record.address;
  json["port"] = record.port;
  json["verdict"] = record.verdict;
  json["rule"] = bounded_text(record.rule, kLongestRule);
  json["reason"] = bounded_text(record.reason, kLongestReason);
  json["bytes_out"] = record.bytes_out;
  json["bytes_in"] = record.bytes_in;
  json["count"] = record.count;
  json["connection"] = record.connection;
  return json;
}

}  // namespace hako::gate
