// What was done in boxes through the gate, and by whom.
#pragma once

#include "gate/record_queue.h"

namespace hako::gate {

/// One thing that somebody did or was refused. Texts may be whatever a client has sent.
struct AccessRecord {
  WallTime time{};
  std::string_view kind;     ///< "command", "file", "port", "request"; empty: of several
  std::string_view action;   ///< what was done, as a word
  std::string_view verdict;  ///< "allowed", "denied", "dropped"
  std::string key;           ///< whose grant let it in; empty if nobody's did
  std::string user;          ///< of the guest, as the request names them; empty: its default one
  std::string what;          ///< command line, path or port
  std::string detail;        ///< what else: working directory, destination
  std::string reason;        ///< why it was refused, or why less is known than should be
  unsigned status = 0;       ///< HTTP status of the answer; 0: there was none
  int64_t bytes = 0;         ///< of a file, that were moved
  int64_t count = 1;         ///< so many alike

  /// What strangers were refused pushes out nothing that was done, and what is done by the thousand
  /// pushes out no command.
  static constexpr size_t kMostDenied = 256, kMostOthers = 512, kMostCommands = 1024;
  static constexpr std::array<Lane, 3> kLanes{Lane{kMostDenied, true}, Lane{kMostOthers, true},
                                              Lane{kMostCommands, false}};
  size_t lane() const;
  bool alike(const AccessRecord& other) const;
  void add(const AccessRecord& same) {
    count += same.count;
    bytes += same.bytes;
  }
  size_t text_size() const {
    return key.size() + user.size() + what.size() + detail.size() + reason.size();
  }
  static AccessRecord dropped(int64_t count);
};

/// Cuts its texts to what the node takes; where the command line or path was longer, says so.
void bound_texts(AccessRecord& record);
boost::json::object to_json(const AccessRecord& record);

}  // namespace hako::gate
