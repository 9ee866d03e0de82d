#include "gate/egress_records.h"

#include <algorithm>

#include "base/encoding.h"

namespace hako::gate {
namespace {

/// What the node takes. A reason may quote what the box has sent.
constexpr size_t kLongestName = 255, kLongestRule = 512, kLongestReason = 1024;

std::string bounded(const std::string& text, size_t longest) {
  return valid_utf8(text.substr(0, longest));
}

bool alike(const EgressRecord& a, const EgressRecord& b) {
  return a.connection == 0 && b.connection == 0 && a.port == b.port && a.verdict == b.verdict &&
         a.kind == b.kind && a.name == b.name && a.address == b.address && a.rule == b.rule &&
         a.reason == b.reason;
}

EgressRecord dropped_record(int64_t count) {
  EgressRecord record;
  record.time = WallClock::now();
  record.verdict = "dropped";
  record.reason = "more happened than is kept";
  record.count = count;
  return record;
}

}  // namespace

boost::json::object to_json(const EgressRecord& record) {
  boost::json::object json;
  json["time_ms"] = to_unix_ms(record.time);
  json["kind"] = record.kind;
  json["name"] = bounded(record.name, kLongestName);
  json["address"] = record.address;
  json["port"] = record.port;
  json["verdict"] = record.verdict;
  json["rule"] = bounded(record.rule, kLongestRule);
  json["reason"] = bounded(record.reason, kLongestReason);
  json["bytes_out"] = record.bytes_out;
  json["bytes_in"] = record.bytes_in;
  json["count"] = record.count;
  json["connection"] = record.connection;
  return json;
}

void EgressRecords::add(const std::string& machine, const std::string& box, EgressRecord record) {
  if (box.empty()) return;
  record.time = WallClock::now();
  Source source(machine, box);
  auto found = waiting_.find(source);
  if (found == waiting_.end()) {
    if (waiting_.size() >= kMostBoxes) return;
    found = waiting_.emplace(std::move(source), Waiting()).first;
  }
  Waiting& waiting = found->second;
  if (record.connection != 0) {
    if (waiting.tied >= kMostTiedWaiting) {
      waiting.dropped += record.count;
      return;
    }
    ++waiting.tied;
    waiting.records.push_back(std::move(record));
    added_.notify_all();
    return;
  }
  // The newest first: a flood is of one kind.
  for (auto other = waiting.records.rbegin(); other != waiting.records.rend(); ++other) {
    if (!alike(*other, record)) continue;
    other->count += record.count;
    return;
  }
  if (waiting.records.size() - waiting.tied >= kMostWaiting) {
    waiting.dropped += record.count;
    return;
  }
  waiting.records.push_back(std::move(record));
  added_.notify_all();
}

bool EgressRecords::send(const Source& source, Waiting& waiting) {
  while (!waiting.records.empty() || waiting.dropped > 0) {
    size_t count = std::min(waiting.records.size(), kMostInMessage);
    auto end = waiting.records.begin() + static_cast<std::ptrdiff_t>(count);
    boost::json::array records;
    for (auto record = waiting.records.begin(); record != end; ++record)
      records.push_back(to_json(*record));
    bool last = count < kMostInMessage;
    if (last && waiting.dropped > 0) records.push_back(to_json(dropped_record(waiting.dropped)));
    if (!send_(source.first, source.second, std::move(records))) return false;
    waiting.tied -= static_cast<size_t>(std::count_if(
        waiting.records.begin(), end, [](const auto& sent) { return sent.connection != 0; }));
    waiting.records.erase(waiting.records.begin(), end);
    if (last) waiting.dropped = 0;
  }
  return true;
}

void EgressRecords::send_all() {
  for (auto entry = waiting_.begin(); entry != waiting_.end();) {
    if (!send(entry->first, entry->second)) return;
    entry = waiting_.erase(entry);
  }
}

Task<void> EgressRecords::run() {
  for (;;) {
    if (waiting_.empty()) co_await added_.wait();
    co_await sleep_for(kGatherTime);
    send_all();
  }
}

}  // namespace hako::gate
