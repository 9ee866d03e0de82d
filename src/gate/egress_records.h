// What was decided about what boxes wanted to reach, on its way to the node.
#pragma once

#include <boost/json.hpp>

#include <deque>
#include <functional>
#include <map>
#include <string>

#include "base/async/turn_queue.h"
#include "base/clock.h"

namespace hako::gate {

/// One decision, or the end of what one had allowed. Texts may come from the box.
struct EgressRecord {
  WallTime time{};
  std::string_view kind;     ///< "dns", "tcp", "link"; empty: of several
  std::string name;          ///< empty if there is none
  std::string address;       ///< where to; empty if not known
  uint16_t port = 0;
  std::string_view verdict;  ///< "allowed", "denied", "ended", "dropped"
  std::string rule;          ///< which rule decided
  std::string reason;        ///< why; of "ended": why it ended
  int64_t bytes_out = 0;     ///< from the box, of "ended"
  int64_t bytes_in = 0;
  int64_t count = 1;         ///< so many alike
  uint64_t connection = 0;   ///< ties "allowed" and "ended" together; 0 for others
};

boost::json::object to_json(const EgressRecord& record);

/// Gathers records for a moment and sends them on. Those of one box that are alike and tied to no
/// connection become one. Of what waits no box has more than kMostWaiting of those, and
/// kMostTiedWaiting of the others, so that refusals push out no record of what has passed: what
/// goes beyond is only counted, in a record "dropped".
class EgressRecords {
 public:
  static constexpr size_t kMostWaiting = 256;
  static constexpr size_t kMostTiedWaiting = 4 * kMostWaiting;
  static constexpr size_t kMostInMessage = 512;  ///< the node takes no more
  static constexpr size_t kMostBoxes = 8192;
  static constexpr Duration kGatherTime = std::chrono::milliseconds(200);

  /// Sends records of one box; false if that is not possible now.
  using Send = std::function<bool(const std::string& machine, const std::string& box,
                                  boost::json::array records)>;

  explicit EgressRecords(Send send) : send_(std::move(send)) {}

  /// Records of a machine that is no box (yet) are nobody's and are let go.
  void add(const std::string& machine, const std::string& box, EgressRecord record);
  /// Sends what was gathered, until cancelled. What cannot be sent waits.
  Task<void> run();

 private:
  struct Waiting {
    std::deque<EgressRecord> records;
    size_t tied = 0;  ///< of `records`, to a connection
    int64_t dropped = 0;
  };
  using Source = std::pair<std::string, std::string>;  ///< machine, box

  void send_all();
  /// False if not all of it could be sent.
  bool send(const Source& source, Waiting& waiting);

  Send send_;
  std::map<Source, Waiting> waiting_;
  Condition added_;
};

}  // namespace hako::gate
