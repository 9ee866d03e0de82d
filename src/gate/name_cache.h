// What names have become, for as long as that may be believed.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hako::gate {

using Addresses = std::vector<boost::asio::ip::address>;

/// Bounded; when it is full, what would be forgotten soonest goes. The caller says what time it is.
class NameCache {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr size_t kMost = 4096;
  /// What a name's own server says is kept within these bounds: a name that changes with every
  /// question would defeat decisions about its address.
  static constexpr std::chrono::seconds kShortest{5};
  static constexpr std::chrono::seconds kLongest{300};
  /// For errors.
  static constexpr std::chrono::seconds kNegative{5};

  std::optional<Result<Addresses>> find(const std::string& name, Time now) const;
  /// `ttl`: of the answer; means nothing with an error.
  void put(const std::string& name, Result<Addresses> result, std::chrono::seconds ttl, Time now);
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Result<Addresses> result;
    Time until;
  };
  using Entries = std::map<std::string, Entry>;

  void forget(Entries::iterator entry);

  Entries entries_;
  std::multimap<Time, std::string> by_end_;
};

}  // namespace hako::gate
