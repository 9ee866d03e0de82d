// Why sandboxes ended that nobody had ended: for those who ask after them.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "store/store.h"

namespace hako::api {

/// The latest of them, in memory only. Thread: one executor.
class EndedBoxes {
 public:
  static constexpr size_t kMost = 1024;

  struct Ended {
    store::SandboxRecord record;  ///< as it was: it says who may know of it
    std::string why;              ///< for users
  };
  void note(store::SandboxRecord record, std::string why);
  /// Nothing: not one of them. Good until the next note().
  const Ended* find(const std::string& id) const;

 private:
  std::map<std::string, Ended> ended_;
  std::deque<std::string> order_;  ///< the oldest first
};

}  // namespace hako::api
