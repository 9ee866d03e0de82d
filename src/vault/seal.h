// Values of secrets at rest.
#pragma once

#include <string>
#include <string_view>

#include "vault/master_key.h"

namespace hako::vault {

/// `value`, encrypted and authenticated (XChaCha20-Poly1305) with a key derived from the master key,
/// and tied to `id`: moved to another record it is of no use. Text, in base64.
std::string seal(const MasterKey& master, std::string_view id, std::string_view value);

/// Errors: failed_precondition (sealed under another master key), corrupted (changed, or another
/// record's).
Result<std::string> unseal(const MasterKey& master, std::string_view id, std::string_view sealed);

}  // namespace hako::vault
