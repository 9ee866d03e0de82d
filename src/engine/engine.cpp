#include "engine/engine.h"

#include <sodium/crypto_generichash.h>

#include <cstdlib>

#include "base/encoding.h"

namespace hako::engine {

std::string_view to_string(Isolation isolation) {
  return isolation == Isolation::hardware ? "hardware" : "emulated";
}

bool Fingerprint::compatible_with(const Fingerprint& other) const {
  if (engine != other.engine || vmm_build != other.vmm_build || isolation != other.isolation ||
      cpu != other.cpu)
    return false;
  // A guest's clocks run at the rate it was told when it booted.
  constexpr int64_t kMillion = 1'000'000;
  constexpr int64_t kTolerance = 500;  // parts per million
  if (tsc_khz <= 0 || other.tsc_khz <= 0) return false;
  int64_t difference = std::llabs(tsc_khz - other.tsc_khz);
  return difference <= tsc_khz / kMillion * kTolerance + tsc_khz % kMillion * kTolerance / kMillion;
}

std::string snapshot_id(const Snapshot& snapshot) {
  const Fingerprint& host = snapshot.fingerprint;
  crypto_generichash_state hash;
  crypto_generichash_init(&hash, nullptr, 0, crypto_generichash_BYTES);
  auto add = [&hash](std::string_view text) {
    // With its length: else what ends one part could as well begin the next.
    uint64_t size = text.size();
    crypto_generichash_update(&hash, reinterpret_cast<const unsigned char*>(&size), sizeof size);
    crypto_generichash_update(&hash, reinterpret_cast<const unsigned char*>(text.data()), size);
  };
  add(host.engine);
  add(host.vmm_build);
  add(to_string(host.isolation));
  add(host.cpu);
  add(std::to_string(host.tsc_khz));
  add(std::to_string(snapshot.size.vcpus));
  add(std::to_string(snapshot.size.memory_mib));
  add(snapshot.device_state);
  std::string digest(crypto_generichash_BYTES, '\0');
  crypto_generichash_final(&hash, reinterpret_cast<unsigned char*>(digest.data()), digest.size());
  return hex_encode(digest);
}

}  // namespace hako::engine
