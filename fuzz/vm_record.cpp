// The node's own records, as a crash or a bad disk may have left them: an error or a record, and a
// record that is written down again is the same one.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "node/record.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto record = hako::node::parse_record(text);
  if (!record) {
    require(!record.error().message().empty());
    return 0;
  }
  // A start time below zero is nobody's, and is not written as it was read.
  if (record.value().vmm.start_time > static_cast<uint64_t>(INT64_MAX)) return 0;
  std::string written = boost::json::serialize(hako::node::to_json(record.value()));
  auto again = hako::node::parse_record(written);
  require(again.has_value());
  require(boost::json::serialize(hako::node::to_json(again.value())) == written);
  return 0;
}
