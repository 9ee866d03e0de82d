#include "node/egress_records.h"

#include <algorithm>
#include <span>

#include "node/json_fields.h"

namespace hako::node {
namespace {

struct Text {
  const char* name;
  size_t longest;
};
constexpr Text kTexts[] = {{"name", 255}, {"address", 64}, {"rule", 512}, {"reason", 1024}};
constexpr const char* kNumbers[] = {"port", "bytes_out", "bytes_in", "count", "connection"};
/// Records that stand for others which were dropped are of no kind.
constexpr std::string_view kKinds[] = {"", "dns", "tcp", "link"};
constexpr std::string_view kVerdicts[] = {"allowed", "denied", "ended", "dropped"};
constexpr int64_t kLargestPort = 65535;

Error wrong(std::string_view name, std::string_view how) {
  return Error(ErrorCode::invalid_argument,
               "field '" + std::string(name) + "' of an egress record " + std::string(how));
}

bool is_one_of(const std::string& word, std::span<const std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

Result<boost::json::object> read_record(const boost::json::object& object) {
  Fields fields(object);
  boost::json::object record;
  std::string kind = fields.text_or("kind", "");
  std::string verdict = fields.text("verdict");
  int64_t time = fields.integer("time_ms");
  if (time < 0) return wrong("time_ms", "is negative");
  record["time_ms"] = time;
  for (const char* name : kNumbers) {
    int64_t number = fields.integer_or(name, 0);
    if (number < 0) return wrong(name, "is negative");
    record[name] = number;
  }
  for (const Text& text : kTexts) {
    std::string value = fields.text_or(text.name, "");
    if (value.size() > text.longest)
      return Error(ErrorCode::too_large, wrong(text.name, "is too long").message());
    record[text.name] = std::move(value);
  }
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  if (!is_one_of(kind, kKinds)) return wrong("kind", "is unknown");
  if (!is_one_of(verdict, kVerdicts)) return wrong("verdict", "is unknown");
  if (record["port"].get_int64() > kLargestPort) return wrong("port", "is too large");
  record["kind"] = std::move(kind);
  record["verdict"] = std::move(verdict);
  return record;
}

}  // namespace

Result<EgressRecords> parse_egress_records(const boost::json::object& body) {
  Fields fields(body);
  EgressRecords told;
  told.machine = fields.text("machine");
  told.box = fields.text("box");
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  if (told.box.empty()) return Error(ErrorCode::invalid_argument, "field 'box' is empty");
  auto records = body.if_contains("records");
  if (!records || !records->is_array())
    return Error(ErrorCode::invalid_argument, "field 'records' must be an array");
  if (records->get_array().size() > kMostEgressRecords)
    return Error(ErrorCode::too_large, "too many egress records in one message");
  for (const auto& value : records->get_array()) {
    if (!value.is_object())
      return Error(ErrorCode::invalid_argument, "an egress record is not an object");
    HAKO_TRY(auto record, read_record(value.get_object()));
    told.records.push_back(std::move(record));
  }
  return told;
}

}  // namespace hako::node
