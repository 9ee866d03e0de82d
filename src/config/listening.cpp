#include "config/listening.h"

namespace hako::config {

policy::Listening api_listening(const Config& config) {
  return {.section = "api",
          .address = config.api_address,
          .allow_emulated = config.allow_emulated_beyond_loopback,
          .encrypted = !config.api_certificate.empty(),
          .allow_plain = config.allow_plain_api_beyond_loopback};
}

policy::Listening gate_listening(const Config& config) {
  return {.section = "gate",
          .address = config.gate_address,
          .allow_emulated = config.allow_emulated_beyond_loopback,
          .encrypted = !config.gate_certificate.empty(),
          .allow_plain = config.allow_plain_gate_beyond_loopback};
}

}  // namespace hako::config
