// The small guest of the KVM probe: its memory, registers and code.
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>

namespace hako::engine {

inline constexpr size_t kProbeMemory = 2 << 20;
inline constexpr uint16_t kProbePort = 0x80;
inline constexpr size_t kProbeProgress = 0x7000;  ///< address of a byte: the step it is at
inline constexpr int kProbeTimedExits = 1000;     ///< port writes after the first

/// Instructions that a guest kernel would use because the processor offers them.
struct ProbeFeatures {
  bool xsave = false;
  bool popcnt = false;
  bool rdtscp = false;
  bool smap = false;
};

/// Fills `memory` (kProbeMemory bytes, zero) and the registers for 64-bit code in ring 0. Calls
/// nothing that allocates.
void prepare_probe_guest(uint8_t* memory, const ProbeFeatures& features, kvm_sregs& system,
                         kvm_regs& general);

/// What the guest writes to the port once it has got through everything.
uint32_t expected_probe_sum(const ProbeFeatures& features);

/// The instruction that a value of the progress byte stands for.
const char* probe_step_name(int progress);

}  // namespace hako::engine
