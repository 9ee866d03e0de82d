// The addresses that a box is told for names, and the names that it means when it comes to them.
#pragma once

#include <boost/asio/ip/address_v4.hpp>

#include <list>
#include <map>
#include <string>
#include <string_view>

namespace hako::gate {

/// Of one box: addresses from 198.18.0.0/15, which is no network of anybody's. An address follows
/// from its name, so a gate that starts anew gives the same ones, and what a program in the box has
/// kept does not come to mean another name. (Where two names fall on one address, the later one
/// gets the next; that hardly happens, see kMost.)
/// Thread: one.
class Names {
 public:
  /// As many are remembered; beyond that the one that was used least recently is forgotten, and who
  /// still comes to its address has to ask again.
  static constexpr size_t kMost = 4096;

  /// The address that stands for `name` (lower case, without a dot at its end).
  boost::asio::ip::address_v4 address_of(std::string_view name);
  /// The name that `address` stands for, or nullptr. Valid until the next call of address_of().
  const std::string* name_of(boost::asio::ip::address_v4 address);

  size_t size() const { return order_.size(); }

  /// Whether it is one of those that Names gives out.
  static bool is_synthetic(boost::asio::ip::address_v4 address);

 private:
  struct Entry {
    std::string name;
    uint32_t address;
  };
  using Order = std::list<Entry>;

  void touch(Order::iterator entry) { order_.splice(order_.begin(), order_, entry); }

  Order order_;  ///< latest use first
  std::map<std::string, Order::iterator, std::less<>> by_name_;
  std::map<uint32_t, Order::iterator> by_address_;
};

}  // namespace hako::gate
