// What the gate has decided about connections out of each sandbox, the latest of it.
#pragma once

#include <boost/json.hpp>

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/async/turn_queue.h"
#include "base/result.h"

namespace hako::api {

/// One decision. Everything that a guest had a hand in is without control characters.
struct EgressRecord {
  int64_t sequence = 0;
  int64_t time_ms = 0;
  std::string kind;  ///< "dns", "tcp", "link", "secret", "model"
  std::string name;
  std::string address;
  uint16_t port = 0;
  std::string verdict;  ///< "allowed", "denied", "ended", "dropped"
  std::string rule;
  std::string reason;
  int64_t bytes_out = 0;
  int64_t bytes_in = 0;
  int64_t count = 1;       ///< how many that were equal
  int64_t connection = 0;  ///< ties "allowed" and its "ended" together; 0 for others
};

/// A record as the node passes it on. corrupted when it is not one.
Result<EgressRecord> parse_record(const boost::json::value& value);
boost::json::object record_json(const EgressRecord& record);

/// In memory only, and bounded. Sequence numbers rise also over restarts of the server, so that a
/// reader can go on where it was. They are each sandbox's own: those of all would tell each reader
/// what goes on in the others. Thread: one executor.
class EgressLog {
 public:
  static constexpr size_t kMostRecords = 1000;  ///< per sandbox; denials go first, the oldest first
  static constexpr size_t kMostInAll = 200'000;
  static constexpr size_t kMostSandboxes = 8192;
  static constexpr int kMostWaiting = 128;  ///< readers; further ones do not wait

  /// `now_ms`: where sequence numbers begin; below that nothing was ever given out.
  explicit EgressLog(int64_t now_ms) : first_(now_ms * kSequencesPerMs) {}

  void add(const std::string& id, EgressRecord record);
  /// The sandbox has ended.
  void drop(const std::string& id);
  /// Those behind `after`, the oldest first.
  std::vector<EgressRecord> behind(const std::string& id, int64_t after, size_t limit) const;
  /// As behind(), and waits for the first for so long; less, if the sandbox ends meanwhile.
  Task<std::vector<EgressRecord>> wait_behind(std::string id, int64_t after, size_t limit,
                                              Duration patience);

 private:
  /// More than can be told in one, so that a later start begins behind all.
  static constexpr int64_t kSequencesPerMs = 1024;
  struct Log {
    std::deque<EgressRecord> records;
    int64_t last;  ///< the sequence number given last
  };
  struct Readers {
    int waiting = 0;
    bool ended = false;  ///< what they wait for
  };
  Task<Result<void>> wait_for(std::string id, int64_t after);
  void make_room();
  void forget(std::map<std::string, Log>::iterator log);

  std::map<std::string, Log> logs_;
  size_t records_ = 0;
  int64_t first_;  ///< above all that were given before
  int waiting_ = 0;
  std::map<std::string, Readers> readers_;  ///< of sandboxes that somebody waits for
  Condition changed_;
};

}  // namespace hako::api
