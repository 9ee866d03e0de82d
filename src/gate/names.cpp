#include "gate/names.h"

namespace hako::gate {
namespace {

constexpr uint32_t kNetwork = 0xc612'0000;  // 198.18.0.0
constexpr uint32_t kMask = 0xfffe'0000;
/// Without the network's own address and its broadcast address.
constexpr uint32_t kFirst = kNetwork + 1;
constexpr uint32_t kCount = ~kMask - 1;

/// FNV-1a: the same in every build, as std::hash need not be.
uint64_t hash_of(std::string_view name) {
  uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100'0000'01b3;
  return hash;
}

}  // namespace

boost::asio::ip::address_v4 Names::address_of(std::string_view name) {
  if (auto known = by_name_.find(name); known != by_name_.end()) {
    touch(known->second);
    return boost::asio::ip::address_v4(known->second->address);
  }
  if (order_.size() == kMost) {
    by_name_.erase(order_.back().name);
    by_address_.erase(order_.back().address);
    order_.pop_back();
  }
  // Far more addresses than names: the next free one is never far.
  auto place = static_cast<uint32_t>(hash_of(name) % kCount);
  while (by_address_.contains(kFirst + place)) place = (place + 1) % kCount;
  order_.push_front({std::string(name), kFirst + place});
  by_name_.emplace(name, order_.begin());
  by_address_.emplace(kFirst + place, order_.begin());
  return boost::asio::ip::address_v4(kFirst + place);
}

const std::string* Names::name_of(boost::asio::ip::address_v4 address) {
  auto known = by_address_.find(address.to_uint());
  if (known == by_address_.end()) return nullptr;
  touch(known->second);
  return &known->second->name;
}

bool Names::is_synthetic(boost::asio::ip::address_v4 address) {
  return (address.to_uint() & kMask) == kNetwork;
}

}  // namespace hako::gate
