// Records of what happens at boxes, on their way to the node.
#pragma once

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "base/async/turn_queue.h"
#include "base/clock.h"
#include "base/encoding.h"

namespace hako::gate {

/// At most `longest` bytes of what strangers have sent, as text.
inline std::string bounded_text(const std::string& text, size_t longest) {
  return valid_utf8(text.substr(0, longest));
}

/// Records of one sort, of which no others are pushed out by however many of this.
struct Lane {
  size_t most;  ///< waiting, of one box
  bool merges;  ///< records that are alike become one
};

/// Sends records of one box; false if that is not possible now.
using SendRecords = std::function<bool(const std::string& machine, const std::string& box,
                                       boost::json::array records)>;

/// Gathers records for a moment and sends them on. What goes beyond its lane's bound is only
/// counted, in a record "dropped". `Record` has
///   static constexpr std::array<Lane, n> kLanes; size_t lane() const;
///   bool alike(const Record&) const; void add(const Record& alike);
///   size_t text_size() const; static Record dropped(int64_t count); WallTime time; int64_t count;
/// and to_json(record), whose texts are bounded. Thread: one executor.
template <class Record>
class RecordQueue {
 public:
  static constexpr size_t kMostInMessage = 512;          ///< the node takes no more
  static constexpr size_t kMostTextInMessage = 768 << 10;  ///< bytes; nor more than 1 MiB of text
  static constexpr size_t kMostBoxes = 8192;
  /// Of all boxes together, bytes of text. Only while the node is away so much ever waits.
  static constexpr size_t kMostText = 128 << 20;
  static constexpr Duration kGatherTime = std::chrono::milliseconds(200);

  explicit RecordQueue(SendRecords send) : send_(std::move(send)) {}

  /// Records of a machine that is no box (yet) are nobody's and are let go.
  void add(const std::string& machine, const std::string& box, Record record) {
    Waiting* waiting = waiting_of(machine, box);
    if (!waiting) return;
    record.time = WallClock::now();
    size_t lane = record.lane();
    if (Record::kLanes[lane].merges && merge(*waiting, record)) return;
    size_t size = record.text_size();
    if (waiting->in_lane[lane] >= Record::kLanes[lane].most || text_ + size > kMostText) {
      waiting->dropped += record.count;
    } else {
      ++waiting->in_lane[lane];
      text_ += size;
      waiting->records.push_back(std::move(record));
    }
    added_.notify_all();
  }

  /// Counts what could not even be made a record of.
  void drop(const std::string& machine, const std::string& box, int64_t count) {
    if (Waiting* waiting = waiting_of(machine, box)) waiting->dropped += count;
    added_.notify_all();
  }

  /// Sends what was gathered, until cancelled. What cannot be sent waits.
  Task<void> run() {
    for (;;) {
      if (waiting_.empty()) co_await added_.wait();
      co_await sleep_for(kGatherTime);
      send_all();
    }
  }

  /// Sends what waits, as far as that is possible now.
  void send_all() {
    for (auto entry = waiting_.begin(); entry != waiting_.end();) {
      if (!send(entry->first, entry->second)) return;
      entry = waiting_.erase(entry);
    }
  }
  /// The same of one machine.
  void send_of(const std::string& machine) {
    for (auto entry = waiting_.lower_bound({machine, {}});
         entry != waiting_.end() && entry->first.first == machine;) {
      if (!send(entry->first, entry->second)) return;
      entry = waiting_.erase(entry);
    }
  }

 private:
  struct Waiting {
    std::deque<Record> records;
    std::array<size_t, Record::kLanes.size()> in_lane{};
    int64_t dropped = 0;
  };
  using Source = std::pair<std::string, std::string>;  ///< machine, box

  Waiting* waiting_of(const std::string& machine, const std::string& box) {
    if (box.empty()) return nullptr;
    Source source(machine, box);
    auto found = waiting_.find(source);
    if (found != waiting_.end()) return &found->second;
    if (waiting_.size() >= kMostBoxes) return nullptr;
    return &waiting_.emplace(std::move(source), Waiting()).first->second;
  }

  /// The newest first: a flood is of one kind.
  static bool merge(Waiting& waiting, const Record& record) {
    for (auto other = waiting.records.rbegin(); other != waiting.records.rend(); ++other) {
      if (other->lane() != record.lane() || !other->alike(record)) continue;
      other->add(record);
      return true;
    }
    return false;
  }

  /// False if not all of it could be sent.
  bool send(const Source& source, Waiting& waiting) {
    while (!waiting.records.empty() || waiting.dropped > 0) {
      boost::json::array records;
      size_t text = 0;
      for (const Record& record : waiting.records) {
        text += record.text_size();
        bool full = records.size() == kMostInMessage || text > kMostTextInMessage;
        if (full && !records.empty()) break;
        records.push_back(to_json(record));
      }
      size_t count = records.size();
      bool last = count == waiting.records.size() && count < kMostInMessage;
      if (last && waiting.dropped > 0) {
        Record dropped = Record::dropped(waiting.dropped);
        dropped.time = WallClock::now();
        records.push_back(to_json(dropped));
      }
      if (!send_(source.first, source.second, std::move(records))) return false;
      for (; count > 0; --count) {
        const Record& sent = waiting.records.front();
        --waiting.in_lane[sent.lane()];
        text_ -= sent.text_size();
        waiting.records.pop_front();
      }
      if (last) waiting.dropped = 0;
    }
    return true;
  }

  SendRecords send_;
  std::map<Source, Waiting> waiting_;
  size_t text_ = 0;  ///< bytes, of all that waits
  Condition added_;
};

}  // namespace hako::gate
