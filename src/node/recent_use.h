// Who has how much, and took how much lately. Pure: the caller says what time it is.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>

namespace hako::node {

/// Counts what each tenant has, and what it took besides: that counts half as much every two
/// seconds. A tenant that has nothing and has taken nothing for an hour is forgotten.
class RecentUse {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// One thing that a tenant has, from its being made on. Must go before what counts it.
  class Held {
   public:
    Held() = default;
    Held(Held&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
    Held& operator=(Held&& other) noexcept {
      std::swap(count_, other.count_);
      return *this;
    }
    ~Held() {
      if (count_) --*count_;
    }

   private:
    friend class RecentUse;
    explicit Held(int& count) : count_(&count) { ++count; }
    int* count_ = nullptr;
  };
  Held hold(const std::string& tenant) { return Held(uses_[tenant].held); }

  void note(const std::string& tenant, Time now);
  /// Whether this tenant may have what is kept for those who use little: it has and had less than
  /// its part of what all have and had, and took nothing within the last second; or nobody else is there for whom it could
  /// be kept.
  bool may_take_kept(const std::string& tenant, Time now);
  /// Whether others have taken something within the hour.
  bool has_others(const std::string& tenant, Time now);

 private:
  struct Use {
    int held = 0;
    double taken = 0;  ///< as much as it was worth at `at`
    Time at{};
  };
  void forget_old(Time now);
  static double taken_worth(const Use& use, Time now);

  std::map<std::string, Use> uses_;  ///< an entry with something held stays where it is
};

}  // namespace hako::node
