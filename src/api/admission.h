// Whether there is room for one more sandbox under what its maker may have at once. Pure.
#pragma once

#include "policy/permission.h"
#include "policy/quota.h"
#include "store/store.h"

namespace hako::api {

/// `in_use` as it is before `record` is added, whose sizes count as it has them; `building`: what
/// builds of the same tenant take.
/// resource_exhausted with the rule: "<layer>.boxes", or one of policy::within().
Result<void> admit(const policy::Permission& permission, const policy::Quota& quota,
                   const store::SandboxRecord& record,
                   const store::Store::InUse& in_use, const policy::Amounts& building = {});

/// Whether a sandbox that is paused may run again: what runs counts against the quota, and it has its
/// disk already. What keys and tokens may have at once counts paused ones all the time.
/// resource_exhausted with one of the rules of policy::within().
Result<void> admit_again(const policy::Quota& quota, const store::SandboxRecord& record,
                         const store::Usage& in_use, const policy::Amounts& building = {});

/// Whether there is room for a snapshot, which takes as much disk as its sandbox.
/// resource_exhausted with one of the rules of policy::within().
Result<void> admit_snapshot(const policy::Quota& quota, const store::Usage& in_use,
                            int64_t disk_mib);

/// Whether a template may be built with these sizes, by every layer that limits those of one box;
/// 0: not known yet, and to be asked about again. permission_denied with the rule:
/// "<layer>.memory", "<layer>.vcpus".
Result<void> admit_size(const policy::Permission& permission, int64_t memory_mib, int64_t vcpus);

/// Whether a build, as one box of its size, fits beside what is `in_use`. resource_exhausted with
/// one of the rules of policy::within().
Result<void> admit_build(const policy::Quota& quota, const policy::Amounts& in_use,
                         const policy::Amounts& build);

}  // namespace hako::api
