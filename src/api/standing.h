// Whether what was given out under a key, a token and a tenant still stands.
#pragma once

#include "api/grants.h"
#include "store/tenants.h"

namespace hako::api {

/// Whether the key is there and as it was, its tenant is not suspended, and the token has not been
/// revoked. `tenant`: the sandbox's. Errors: those of the store. Blocking.
Result<bool> still_stands(store::TenantStore& store, const Grant& grant, const std::string& tenant);

/// Whether `who`, as they were when they began something, may still do this at `now_ms`: nothing of
/// theirs has expired, and still_stands(). Errors: those of the store. Blocking.
Result<bool> may_go_on(store::TenantStore& store, const Principal& who, policy::Action action,
                       int64_t now_ms);

/// state_of() a key in a tenant, as they are now; empty for a key that is not there.
Result<std::string> present_state(store::TenantStore& store, const std::string& key_id,
                                  const std::string& tenant);

}  // namespace hako::api
