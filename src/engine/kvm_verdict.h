// What was found out by running a real guest under KVM, remembered until the next boot of the host.
#pragma once

#include <optional>
#include <string>

#include "engine/engine.h"

namespace hako::engine {

struct KvmVerdict {
  /// What was tried: this boot of the host, the VMM's build, the guest (see kvm_trial_subject).
  std::string subject;
  bool works = false;
  std::string reason;  ///< why not
};

/// Names a trial of the guest with this digest (of its image and kernel) under this engine, in this
/// boot of the host.
std::string kvm_trial_subject(const Fingerprint& engine, const std::string& guest_digest);
/// Whether a verdict's subject belongs to this boot of the host.
bool of_this_boot(const KvmVerdict& verdict);

/// Nothing where there is no verdict, or none that can be read. Blocking.
std::optional<KvmVerdict> read_kvm_verdict(const std::string& path);
/// Blocking. Errors: those of writing a file.
Result<void> write_kvm_verdict(const std::string& path, const KvmVerdict& verdict);

}  // namespace hako::engine
