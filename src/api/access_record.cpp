#include "api/access_record.h"

#include "api/field_reader.h"

namespace hako::api {
namespace {

constexpr size_t kLongestAccessWord = 32;
constexpr size_t kLongestAccessKey = 64;
constexpr size_t kLongestAccessUser = 256;
constexpr size_t kLongestAccessReason = 512;
constexpr size_t kLongestAccessText = 2048;

}  // namespace

Result<AccessRecord> parse_access_record(const boost::json::value& value) {
  const boost::json::object* fields = value.if_object();
  if (!fields) return Error(ErrorCode::corrupted, "an access record must be an object");
  FieldReader reader(*fields, "access record: ");
  auto text = [&](std::string_view name, size_t longest) {
    return reader.text(name, longest).value_or("");
  };
  auto number = [&](std::string_view name, int64_t fallback) {
    return reader.number(name, 0, INT64_MAX / 2).value_or(fallback);
  };
  AccessRecord record;
  record.time_ms = number("time_ms", 0);
  record.kind = text("kind", kLongestAccessWord);
  record.action = text("action", kLongestAccessWord);
  record.verdict = text("verdict", kLongestAccessWord);
  record.key = text("key", kLongestAccessKey);
  record.user = text("user", kLongestAccessUser);
  record.what = text("what", kLongestAccessText);
  record.detail = text("detail", kLongestAccessText);
  record.reason = text("reason", kLongestAccessReason);
  record.status = number("status", 0);
  record.bytes = number("bytes", 0);
  record.count = number("count", 1);
  auto outcome = reader.outcome();
  if (!outcome) return Error(ErrorCode::corrupted, outcome.error().message());
  return record;
}

}  // namespace hako::api
