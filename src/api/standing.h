// Whether what was given out under a key, a token and a tenant still stands.
#pragma once

#include "api/grants.h"
#include "store/tenants.h"

namespace hako::api {

/// A secret of a key that counts now.
struct Secret {
  std::string hash;
  int64_t until_ms = 0;  ///< of the one before the present one; 0: no end
};

/// By which of its secrets a key is in the state `state`; nothing if by none: the key is not there,
/// it has changed, or the secret has come to its end. Errors: those of the store. Blocking.
Result<std::optional<Secret>> secret_in_state(store::TenantStore& store, const std::string& key_id,
                                              const std::string& tenant, const std::string& state);

/// Whether the key is there and as it was, its tenant is not suspended, and the token has not been
/// revoked. `tenant`: the sandbox's. Errors: those of the store. Blocking.
Result<bool> still_stands(store::TenantStore& store, const Grant& grant, const std::string& tenant);

/// The grant as it stands now; nothing if it does not. One of a secret that was replaced ends when
/// that does. Errors: those of the store. Blocking.
Result<std::optional<Grant>> standing_now(store::TenantStore& store, Grant grant,
                                          const std::string& tenant);

/// state_of() a key, by its present secret, in a tenant; empty for a key that is not there.
Result<std::string> present_state(store::TenantStore& store, const std::string& key_id,
                                  const std::string& tenant);

}  // namespace hako::api
