// The certificates of gate and api, which neither can read itself.
#pragma once

#include "config/config.h"
#include "node/gate_link.h"

namespace hako::node {

/// Certificate with its chain, and key, both PEM.
using CertificatePair = std::pair<std::string, std::string>;

/// What the two files hold now. Errors name the file.
Result<CertificatePair> read_certificate(const std::string& certificate, const std::string& key);

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
  Result<CertificatePair> read() const;

  const config::Config& config_;
  GateLink& gate_;
  CertificatePair given_;   ///< what the gate was told last
  std::string problem_;     ///< what was logged last
};

}  // namespace hako::node
