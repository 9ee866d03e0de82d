// What a gate that has been taken over tells of boxes' connections: an error, or records within
// their bounds which are read again as the same ones.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "node/egress_records.h"

namespace {

namespace json = boost::json;

constexpr size_t kMembers = 12;
constexpr size_t kMostText = 1 << 20;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  json::error_code error;
  auto value = json::parse(std::string_view(reinterpret_cast<const char*>(data), size), error);
  if (error || !value.is_object()) return 0;
  auto told = hako::node::parse_egress_records(value.get_object());
  if (!told) {
    require(!told.error().message().empty());
    return 0;
  }
  const json::array& records = told.value().records;
  require(records.size() <= hako::node::kMostEgressRecords);
  size_t text = 0;
  for (const auto& record : records) {
    require(record.is_object() && record.get_object().size() == kMembers);
    for (const auto& [name, member] : record.get_object()) {
      require(member.is_string() || (member.is_int64() && member.get_int64() >= 0));
      if (member.is_string()) text += member.get_string().size();
    }
  }
  require(text < kMostText);
  json::object body = {{"machine", told.value().machine}, {"box", told.value().box}};
  body["records"] = records;
  auto again = hako::node::parse_egress_records(body);
  require(again && again.value().records == records);
  return 0;
}
