#include "node/recent_use.h"

#include <cmath>

namespace hako::node {
namespace {

/// Shorter than the time between the creates of whoever is in no hurry: else the first burst of a
/// tenant that comes anew finds the others with more behind them, and takes what is kept for them.
constexpr std::chrono::duration<double> kHalfLife = std::chrono::seconds(2);
/// Whoever comes more often is in a hurry, however little it has had so far.
constexpr auto kApart = std::chrono::seconds(1);
constexpr auto kRemembered = std::chrono::hours(1);

}  // namespace

double RecentUse::taken_worth(const Use& use, Time now) {
  std::chrono::duration<double> passed = now - use.at;
  return use.taken * std::exp2(-passed / kHalfLife);
}

void RecentUse::note(const std::string& tenant, Time now) {
  Use& use = uses_[tenant];
  use.taken = taken_worth(use, now) + 1;
  use.at = now;
}

void RecentUse::forget_old(Time now) {
  std::erase_if(uses_, [&](const auto& entry) {
    return entry.second.held == 0 && now - entry.second.at > kRemembered;
  });
}

bool RecentUse::has_others(const std::string& tenant, Time now) {
  forget_old(now);
  return uses_.size() > (uses_.contains(tenant) ? 1u : 0u);
}

bool RecentUse::may_take_kept(const std::string& tenant, Time now) {
  forget_old(now);
  double own = 0, all = 0;
  bool apart = true;
  size_t tenants = 1;
  for (const auto& [name, use] : uses_) {
    double worth = use.held + taken_worth(use, now);
    all += worth;
    if (name == tenant) {
      own = worth;
      apart = now - use.at >= kApart;
    } else {
      ++tenants;
    }
  }
  return tenants == 1 || (apart && own < all / static_cast<double>(tenants));
}

}  // namespace hako::node
