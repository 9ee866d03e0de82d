// What a gate that has been taken over tells of boxes: an error, or records within their bounds
// which are read again as the same ones.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "node/box_records.h"

namespace {

namespace json = boost::json;
using hako::node::RecordKind;

constexpr size_t kMembers = 12;  ///< of either kind
constexpr size_t kMostText = 1 << 20;

void require(bool holds) {
  if (!holds) std::abort();
}

void try_as(RecordKind kind, const json::object& message) {
  auto told = hako::node::parse_box_records(kind, message);
  if (!told) {
    require(!told.error().message().empty());
    return;
  }
  const json::array& records = told.value().records;
  require(records.size() <= hako::node::kMostBoxRecords);
  size_t text = 0;
  for (const auto& record : records) {
    require(record.is_object() && record.get_object().size() == kMembers);
    for (const auto& [name, member] : record.get_object()) {
      require(member.is_string() || (member.is_int64() && member.get_int64() >= 0));
      if (member.is_string()) text += member.get_string().size();
    }
  }
  require(text < kMostText + (64 << 10));  // the words of kind and verdict are not counted
  json::object body = {{"machine", told.value().machine}, {"box", told.value().box}};
  body["records"] = records;
  auto again = hako::node::parse_box_records(kind, body);
  require(again && again.value().records == records);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  json::error_code error;
  auto value = json::parse(std::string_view(reinterpret_cast<const char*>(data), size), error);
  if (error || !value.is_object()) return 0;
  try_as(RecordKind::egress, value.get_object());
  try_as(RecordKind::access, value.get_object());
  return 0;
}
