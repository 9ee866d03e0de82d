// What was decided about what boxes wanted to reach.
#pragma once

#include "gate/record_queue.h"

namespace hako::gate {

/// One decision, or the end of what one had allowed. Texts may come from the box.
struct EgressRecord {
  WallTime time{};
  /// "dns", "tcp", "link"; "secret" and "model" of what passed by a connection that the gate looks
  /// into; empty: of several.
  std::string_view kind;
  std::string name;          ///< empty if there is none
  std::string address;       ///< where to; empty if not known
  uint16_t port = 0;
  std::string_view verdict;  ///< "allowed", "denied", "ended", "moved", "dropped"
  std::string rule;          ///< which rule decided
  std::string reason;        ///< why; of "ended": why it ended
  /// From the box, of "ended". Of "moved", which is told now and then while connections are open: all
  /// that the box has moved since the last, both ways.
  int64_t bytes_out = 0;
  int64_t bytes_in = 0;
  int64_t count = 1;         ///< so many alike
  uint64_t connection = 0;   ///< ties "allowed" and "ended" together; 0 for others

  /// Those that are tied to a connection stand for themselves, and refusals push none of them out.
  static constexpr size_t kMostWaiting = 256;
  static constexpr size_t kMostTiedWaiting = 4 * kMostWaiting;
  /// "moved" is one record however long it waits, so none of what was moved goes uncounted.
  static constexpr std::array<Lane, 4> kLanes{
      Lane{kMostWaiting, true}, Lane{kMostTiedWaiting, false}, Lane{1, true},
      Lane{kMostWaiting, true}};
  size_t lane() const {
    if (kind == "secret" || kind == "model") return 3;
    return verdict == "moved" ? 2 : connection == 0 ? 0 : 1;
  }
  bool alike(const EgressRecord& other) const;
  void add(const EgressRecord& same) {
    count += same.count;
    bytes_out += same.bytes_out;
  }
  size_t text_size() const { return name.size() + address.size() + rule.size() + reason.size(); }
  static EgressRecord dropped(int64_t count);
};

boost::json::object to_json(const EgressRecord& record);

using EgressRecords = RecordQueue<EgressRecord>;

}  // namespace hako::gate
