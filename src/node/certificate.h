// The gate's certificate, which the gate cannot read itself.
#pragma once

#include "config/config.h"
#include "node/gate_link.h"

namespace hako::node {

/// Reads the files that [gate] certificate and key name and hands them to the gate. Does nothing if
/// none are named. Thread: the node's executor.
class Certificate {
 public:
  Certificate(const config::Config& config, GateLink& gate) : config_(config), gate_(gate) {}

  /// Hands over what the files hold now. What goes wrong is logged.
  Task<void> hand_over();
  /// Hands over again whenever the files have changed, until cancelled.
  Task<void> watch();

 private:
  Result<std::pair<std::string, std::string>> read() const;

  const config::Config& config_;
  GateLink& gate_;
  std::pair<std::string, std::string> given_;  ///< what the gate was told last
  std::string problem_;                        ///< what was logged last
};

}  // namespace hako::node
