// Whether there is room for one more sandbox under what its maker may have at once. Pure.
#pragma once

#include "policy/permission.h"
#include "store/store.h"

namespace hako::api {

/// `in_use` as it is before `record` is added. resource_exhausted with the rule: "<layer>.boxes".
Result<void> admit(const policy::Permission& permission, const store::SandboxRecord& record,
                   const store::Store::InUse& in_use);

}  // namespace hako::api
