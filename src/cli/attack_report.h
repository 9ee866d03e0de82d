// What a box full of attacks has printed, and what that means.
#pragma once

#include <boost/json/array.hpp>

#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::cli {

/// Takes the probe's output as it comes: a JSON object for each line. A box wrote it, so nothing in
/// it is believed beyond its form, and it is not kept without a limit.
class AttackReport {
 public:
  /// All that one run may print, bytes. The real thing is a tenth of it.
  static constexpr size_t kMostBytes = 4 << 20;

  /// corrupted: a line that is no result; too_large.
  Result<void> feed(std::string_view bytes);

  size_t tried() const { return results_.size(); }
  size_t refused() const { return refused_; }
  /// Everything that was tried was refused, and something was.
  bool holds() const { return tried() > 0 && refused_ == tried(); }
  /// As it came, without what could not be tried.
  const boost::json::array& results() const { return results_; }
  /// A line for each attack that was not refused, then one that counts.
  std::string text() const;

 private:
  Result<void> take(std::string_view line);

  std::string rest_;
  size_t bytes_ = 0;
  size_t refused_ = 0;
  boost::json::array results_;
};

}  // namespace hako::cli
