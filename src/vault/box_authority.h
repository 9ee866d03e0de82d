// The certificate authority of one box.
#pragma once

#include <string>
#include <string_view>

#include "vault/master_key.h"

namespace hako::vault {

/// PEM texts. `certificate` is what the box's guest trusts; `key` signs what the gate shows to it.
struct BoxAuthority {
  std::string certificate;
  std::string key;
};

/// ECDSA P-256, derived from the master key and the box's id: nothing is stored, it is the same key, name
/// and serial number after a restart, and no other box's. Only the signature on the certificate is
/// new each time.
BoxAuthority box_authority(const MasterKey& master, std::string_view box);

}  // namespace hako::vault
