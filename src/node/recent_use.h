// Who took how much lately. Pure: the caller says what time it is.
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace hako::node {

/// Counts what each tenant takes; what was taken counts half as much every half a minute, and a
/// tenant that has taken nothing for an hour is forgotten.
class RecentUse {
 public:
  using Time = std::chrono::steady_clock::time_point;

  void note(const std::string& tenant, Time now);
  /// Whether this tenant may have what is kept for those who use little: it had less than its part
  /// of what all had, and nothing within the last second; or nobody else is there for whom it could
  /// be kept.
  bool may_take_kept(const std::string& tenant, Time now);
  /// Whether others have taken something within the hour.
  bool has_others(const std::string& tenant, Time now);

 private:
  struct Use {
    double taken = 0;
    Time at{};
  };
  void forget_old(Time now);
  static double now_worth(const Use& use, Time now);

  std::map<std::string, Use> uses_;
};

}  // namespace hako::node
