#include "gate/name_cache.h"

#include <algorithm>

namespace hako::gate {

std::optional<Result<Addresses>> NameCache::find(const std::string& name, Time now) const {
  auto entry = entries_.find(name);
  if (entry == entries_.end() || entry->second.until <= now) return std::nullopt;
  return entry->second.result;
}

void NameCache::put(const std::string& name, Result<Addresses> result, std::chrono::seconds ttl,
                    Time now) {
  if (auto old = entries_.find(name); old != entries_.end()) forget(old);
  while (entries_.size() >= kMost) forget(entries_.find(by_end_.begin()->second));
  Time until = now + (result ? std::clamp(ttl, kShortest, kLongest) : kNegative);
  entries_.emplace(name, Entry{std::move(result), until});
  by_end_.emplace(until, name);
}

void NameCache::forget(Entries::iterator entry) {
  auto [first, last] = by_end_.equal_range(entry->second.until);
  by_end_.erase(std::find_if(first, last, [&](auto& end) { return end.second == entry->first; }));
  entries_.erase(entry);
}

}  // namespace hako::gate
