// Giving up privileges, in calls that are safe between fork and exec (no allocation, no locks).
// Each works on the calling thread and returns 0 or an errno value.
#pragma once

#include <sys/types.h>

namespace hako::jail {

/// Also of those that a later exec could bring. Needs CAP_SETPCAP, so it comes before
/// become_user(); after it nothing can be mounted, joined or owned any more.
int drop_bounding_set();
/// `group`: the only supplementary one, or -1 for none.
int become_user(uid_t uid, gid_t gid, gid_t group);
/// Has the effect of all that are permitted. They lose it by become_user(), even with
/// PR_SET_KEEPCAPS.
int take_permitted_capabilities();
/// One in which no user is mapped, so that nothing owned by anybody can be had there, and
/// capabilities in it are worth nothing outside. Some systems let only CAP_SYS_ADMIN make one.
/// Gives all capabilities in it and a full bounding set: drop both after it. 0 as well where this
/// kernel makes none.
int enter_user_namespace();
/// Permitted, effective, inheritable, ambient.
int drop_capabilities();
int forbid_new_privileges();
/// Neither to a file nor to a program that collects them.
int forbid_core_dumps();
int set_limit(int resource, unsigned long limit);

}  // namespace hako::jail
