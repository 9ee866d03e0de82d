// meta.json of a stored snapshot: what is taken is within its bounds and is written as it was read.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/snapshot_store.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto meta = hako::engine::parse_snapshot_meta(text);
  if (!meta) {
    require(!meta.error().message().empty());
    return 0;
  }
  const auto& read = meta.value();
  require(read.size.vcpus >= 1 && read.size.memory_mib >= 1);
  require(read.fingerprint.tsc_khz >= 1);
  require(read.device_state_bytes <= (64u << 20));
  require(read.device_state_sha256.size() == 64 && read.memory_sha256.size() == 64);
  std::string written = hako::engine::format_snapshot_meta(read);
  auto again = hako::engine::parse_snapshot_meta(written);
  require(again.has_value());
  require(hako::engine::format_snapshot_meta(again.value()) == written);
  return 0;
}
