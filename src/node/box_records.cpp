#include "node/box_records.h"

#include <algorithm>
#include <span>

#include "node/json_fields.h"

namespace hako::node {
namespace {

/// Escaped, that is still less than a message between processes may be long.
constexpr size_t kMostText = 1 << 20;
constexpr int64_t kLargestPort = 65535;
constexpr int64_t kLargestStatus = 599;

struct Text {
  const char* name;
  size_t longest;
};
struct Number {
  const char* name;
  int64_t largest = INT64_MAX;
};

/// What the records of one kind of message hold, besides time_ms, kind and verdict.
struct Shape {
  std::string_view what;  ///< for errors
  std::span<const Text> texts;
  std::span<const Number> numbers;
  std::span<const std::string_view> kinds;
  std::span<const std::string_view> verdicts;
};

// Records that stand for others which were dropped are of no kind.
constexpr Text kEgressTexts[] = {{"name", 255}, {"address", 64}, {"rule", 512}, {"reason", 1024}};
constexpr Number kEgressNumbers[] = {
    {"port", kLargestPort}, {"bytes_out"}, {"bytes_in"}, {"count"}, {"connection"}};
constexpr std::string_view kEgressKinds[] = {"", "dns", "tcp", "link", "secret", "model"};
constexpr std::string_view kEgressVerdicts[] = {"allowed", "denied", "ended", "moved",
                                                 "dropped"};
constexpr Shape kEgress{"an egress record", kEgressTexts, kEgressNumbers, kEgressKinds,
                        kEgressVerdicts};

constexpr Text kAccessTexts[] = {{"action", 32}, {"key", 64},      {"user", 256},
                                 {"what", 2048}, {"detail", 2048}, {"reason", 512}};
constexpr Number kAccessNumbers[] = {{"status", kLargestStatus}, {"bytes"}, {"count"}};
constexpr std::string_view kAccessKinds[] = {"", "command", "file", "port", "request"};
constexpr std::string_view kAccessVerdicts[] = {"allowed", "denied", "dropped"};
constexpr Shape kAccess{"an access record", kAccessTexts, kAccessNumbers, kAccessKinds,
                        kAccessVerdicts};

bool is_one_of(const std::string& word, std::span<const std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

/// Reads one record after another.
class Reader {
 public:
  explicit Reader(const Shape& shape) : shape_(shape) {}

  Result<boost::json::object> read(const boost::json::object& object) {
    Fields fields(object);
    boost::json::object record;
    std::string kind = fields.text_or("kind", "");
    std::string verdict = fields.text("verdict");
    int64_t time = fields.integer("time_ms");
    if (time < 0) return wrong("time_ms", "is negative");
    record["time_ms"] = time;
    for (const Number& known : shape_.numbers) {
      int64_t number = fields.integer_or(known.name, 0);
      if (number < 0) return wrong(known.name, "is negative");
      if (number > known.largest) return wrong(known.name, "is too large");
      record[known.name] = number;
    }
    for (const Text& text : shape_.texts) {
      std::string value = fields.text_or(text.name, "");
      left_ -= std::min(left_, value.size());
      if (value.size() > text.longest || left_ == 0)
        return Error(ErrorCode::too_large, wrong(text.name, "is too long").message());
      record[text.name] = std::move(value);
    }
    if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
    if (!is_one_of(kind, shape_.kinds)) return wrong("kind", "is unknown");
    if (!is_one_of(verdict, shape_.verdicts)) return wrong("verdict", "is unknown");
    record["kind"] = std::move(kind);
    record["verdict"] = std::move(verdict);
    return record;
  }

 private:
  Error wrong(std::string_view name, std::string_view how) const {
    return Error(ErrorCode::invalid_argument, "field '" + std::string(name) + "' of " +
                                                  std::string(shape_.what) + " " +
                                                  std::string(how));
  }

  const Shape& shape_;
  size_t left_ = kMostText;
};

}  // namespace

Result<BoxRecords> parse_box_records(RecordKind kind, const boost::json::object& body) {
  const Shape& shape = kind == RecordKind::egress ? kEgress : kAccess;
  Fields fields(body);
  BoxRecords told;
  told.machine = fields.text("machine");
  told.box = fields.text("box");
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  if (told.box.empty()) return Error(ErrorCode::invalid_argument, "field 'box' is empty");
  auto records = body.if_contains("records");
  if (!records || !records->is_array())
    return Error(ErrorCode::invalid_argument, "field 'records' must be an array");
  if (records->get_array().size() > kMostBoxRecords)
    return Error(ErrorCode::too_large, "too many records in one message");
  Reader reader(shape);
  for (const auto& value : records->get_array()) {
    if (!value.is_object())
      return Error(ErrorCode::invalid_argument, std::string(shape.what) + " is not an object");
    HAKO_TRY(auto record, reader.read(value.get_object()));
    told.records.push_back(std::move(record));
  }
  return told;
}

}  // namespace hako::node
