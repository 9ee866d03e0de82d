#include "gate/access_records.h"

namespace hako::gate {
namespace {

/// What the node takes.
constexpr size_t kLongestKey = 64, kLongestUser = 256, kLongestWhat = 2048, kLongestReason = 512;

}  // namespace

size_t AccessRecord::lane() const {
  if (verdict == "denied") return 0;
  return kind == "command" && (action == "start" || action == "signal") ? 2 : 1;
}

bool AccessRecord::alike(const AccessRecord& other) const {
  return status == other.status && kind == other.kind && action == other.action &&
         verdict == other.verdict && key == other.key && user == other.user &&
         what == other.what && detail == other.detail && reason == other.reason;
}

AccessRecord AccessRecord::dropped(int64_t count) {
  AccessRecord record;
  record.verdict = "dropped";
  record.reason = "more happened than is kept";
  record.count = count;
  return record;
}

void bound_texts(AccessRecord& record) {
  if (record.what.size() > kLongestWhat && record.reason.empty())
    record.reason = "cut after " + std::to_string(kLongestWhat) + " bytes";
  record.key = bounded_text(record.key, kLongestKey);
  record.user = bounded_text(record.user, kLongestUser);
  record.what = bounded_text(record.what, kLongestWhat);
  record.detail = bounded_text(record.detail, kLongestWhat);
  record.reason = bounded_text(record.reason, kLongestReason);
}

boost::json::object to_json(const AccessRecord& record) {
  boost::json::object json;
  json["time_ms"] = to_unix_ms(record.time);
  json["kind"] = record.kind;
  json["action"] = record.action;
  json["verdict"] = record.verdict;
  json["key"] = record.key;
  json["user"] = record.user;
  json["what"] = record.what;
  json["detail"] = record.detail;
  json["reason"] = record.reason;
  json["status"] = record.status;
  json["bytes"] = record.bytes;
  json["count"] = record.count;
  return json;
}

}  // namespace hako::gate
