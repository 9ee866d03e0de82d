// Keeps the records of one tenant, and those of nobody known, from filling the audit log.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "audit/record.h"
#include "base/token_bucket.h"

namespace hako::api {

/// Bounds bytes: how many in a day, a sixteenth of that at once. What goes beyond is left out and
/// counted, and a record tells how many of which kind, so that there is evidence of the omission.
/// The caller says what time it is. Thread: one executor.
class AuditBounds {
 public:
  using Time = TokenBucket::Time;
  /// How soon it is told that records were left out, and, while that goes on, how seldom in the
  /// end.
  static constexpr std::chrono::seconds kToldAfter{1};
  static constexpr std::chrono::seconds kToldEvery{64};
  static constexpr size_t kMostKinds = 4096;

  /// `mib_per_day` of one tenant; 0: no bound. Those of nobody known get a sixteenth of that.
  explicit AuditBounds(int64_t mib_per_day);

  /// Whether a record of something that changed nothing may be written. If not, it is counted.
  bool admit_call(const audit::Record& record, Time now);
  /// The same of what the gate tells of a box. All boxes of a tenant have half of its bytes, and
  /// one a quarter, so that no box hides what its tenant does, or others do.
  bool admit_box(const audit::Record& record, Time now);
  /// Counts it as left out, whatever room there is.
  void leave_out(const audit::Record& record, Time now);

  /// A record for each kind of which some were left out and which is due. `all`: whether due or
  /// not.
  std::vector<audit::Record> summaries(Time now, bool all = false);

 private:
  /// What makes records alike: tenant, box, action, outcome.
  using Kind = std::tuple<std::string, std::string, std::string, std::string>;
  struct LeftOut {
    int64_t count = 0;
    std::string label, agent, source;  ///< of the last
    Time due{};
    std::chrono::seconds pause = kToldAfter;
  };
  struct Used {
    TokenBucket bytes;
    Time last{};
  };

  Used& bucket(const std::string& name, double part, Time now);
  void forget_the_full(Time now);

  double per_second_;
  std::map<std::string, Used> buckets_;
  std::map<Kind, LeftOut> left_out_;
  Time swept_{};
};

}  // namespace hako::api
