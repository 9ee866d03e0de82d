// Whether this machine makes user namespaces at all.
#pragma once

#include <sched.h>

#include "support/in_child.h"

namespace hako::test {

/// False in a chroot, where the kernel refuses them even to root.
inline bool user_namespaces_can_be_made() {
  return testing_support::in_child([] { return ::unshare(CLONE_NEWUSER) == 0 ? 0 : 1; }) == 0;
}

}  // namespace hako::test
