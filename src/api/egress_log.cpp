#include "api/egress_log.h"

#include <algorithm>

#include "api/field_reader.h"
#include "api/journal.h"
#include "api/now.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kLongestRecordWord = 32;
constexpr size_t kLongestRecordText = 1024;

}  // namespace

Result<EgressRecord> parse_record(const json::value& value) {
  const json::object* fields = value.if_object();
  if (!fields) return Error(ErrorCode::corrupted, "an egress record must be an object");
  FieldReader reader(*fields, "egress record: ");
  auto text = [&](std::string_view name, size_t longest) {
    return without_controls(reader.text(name, longest).value_or(""));
  };
  auto number = [&](std::string_view name, int64_t most, int64_t fallback) {
    return reader.number(name, 0, most).value_or(fallback);
  };
  EgressRecord record;
  record.time_ms = number("time_ms", INT64_MAX / 2, 0);
  record.kind = text("kind", kLongestRecordWord);
  record.name = text("name", kLongestRecordText);
  record.address = text("address", kLongestRecordWord * 2);
  record.port = uint16_t(number("port", UINT16_MAX, 0));
  record.verdict = text("verdict", kLongestRecordWord);
  record.rule = text("rule", kLongestRecordText);
  record.reason = text("reason", kLongestRecordText);
  record.bytes_out = number("bytes_out", INT64_MAX, 0);
  record.bytes_in = number("bytes_in", INT64_MAX, 0);
  record.count = number("count", INT64_MAX, 1);
  record.connection = number("connection", INT64_MAX, 0);
  auto outcome = reader.outcome();
  if (!outcome) return Error(ErrorCode::corrupted, outcome.error().message());
  return record;
}

json::object record_json(const EgressRecord& record) {
  json::object object;
  object["sequence"] = record.sequence;
  object["timestamp"] = to_rfc3339(from_unix_ms(record.time_ms));
  object["kind"] = record.kind;
  object["name"] = record.name;
  object["address"] = record.address;
  object["port"] = record.port;
  object["verdict"] = record.verdict;
  object["rule"] = record.rule;
  object["reason"] = record.reason;
  object["bytesOut"] = record.bytes_out;
  object["bytesIn"] = record.bytes_in;
  object["count"] = record.count;
  object["connection"] = record.connection;
  return object;
}

void EgressLog::add(const std::string& id, EgressRecord record) {
  // A sandbox may end while this is on its way, and then nobody drops its records.
  if (logs_.size() >= kMostSandboxes && !logs_.contains(id)) forget(logs_.begin());
  int64_t now = unix_now_ms() * kSequencesPerMs;
  // Where it was forgotten before, this is still above what it had.
  Log& log = logs_.try_emplace(id, Log{{}, std::max(first_, now)}).first->second;
  auto& records = log.records;
  record.sequence = ++log.last;
  records.push_back(std::move(record));
  ++records_;
  if (records.size() > kMostRecords) {
    // Refusals go first: whoever causes many of them shall not make others forget what has passed.
    auto untied = std::find_if(records.begin(), records.end(),
                               [](const EgressRecord& one) { return one.connection == 0; });
    records.erase(untied == records.end() ? records.begin() : untied);
    --records_;
  }
  if (records_ > kMostInAll) make_room();
  changed_.notify_all();
}

void EgressLog::make_room() {
  auto longest = std::max_element(logs_.begin(), logs_.end(), [](const auto& a, const auto& b) {
    return a.second.records.size() < b.second.records.size();
  });
  // Several at once, as looking for it costs more than dropping them.
  auto& records = longest->second.records;
  size_t some = records.size() / 4 + 1;
  records.erase(records.begin(), records.begin() + std::ptrdiff_t(some));
  records_ -= some;
}

void EgressLog::forget(std::map<std::string, Log>::iterator log) {
  records_ -= log->second.records.size();
  logs_.erase(log);
}

void EgressLog::drop(const std::string& id) {
  if (auto readers = readers_.find(id); readers != readers_.end()) readers->second.ended = true;
  changed_.notify_all();
  if (auto found = logs_.find(id); found != logs_.end()) forget(found);
}

Task<Result<void>> EgressLog::wait_for(std::string id, int64_t after) {
  struct Reader {
    std::map<std::string, Readers>& all;
    std::map<std::string, Readers>::iterator own;
    Reader(std::map<std::string, Readers>& readers, const std::string& id)
        : all(readers), own(readers.try_emplace(id).first) {
      ++own->second.waiting;
    }
    ~Reader() {
      if (--own->second.waiting == 0) all.erase(own);
    }
  } reader(readers_, id);
  while (behind(id, after, 1).empty() && !reader.own->second.ended) co_await changed_.wait();
  co_return ok();
}

std::vector<EgressRecord> EgressLog::behind(const std::string& id, int64_t after,
                                            size_t limit) const {
  auto found = logs_.find(id);
  if (found == logs_.end()) return {};
  const auto& records = found->second.records;
  auto first = std::upper_bound(records.begin(), records.end(), after,
                                [](int64_t sequence, const EgressRecord& record) {
                                  return sequence < record.sequence;
                                });
  auto count = std::min(limit, size_t(records.end() - first));
  return {first, first + std::ptrdiff_t(count)};
}

Task<std::vector<EgressRecord>> EgressLog::wait_behind(std::string id, int64_t after, size_t limit,
                                                       Duration patience) {
  if (patience > Duration::zero() && waiting_ < kMostWaiting) {
    struct Waiting {
      explicit Waiting(int& n) : n_(n) { ++n_; }
      ~Waiting() { --n_; }
      int& n_;
    } waiting(waiting_);
    auto wait = wait_for(id, after);
    (void)co_await with_deadline(patience, std::move(wait));
  }
  co_return behind(id, after, limit);
}

}  // namespace hako::api
