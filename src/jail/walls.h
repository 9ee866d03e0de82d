// The walls around a VMM, one by one: so that a test can take one away and see that it was needed.
#pragma once

namespace hako::jail {

enum class Wall {
  share,       ///< its control groups
  processes,   ///< the only process of its pid namespace
  network,     ///< joins the empty network namespace
  namespaces,  ///< ipc and uts of its own
  root,        ///< sees its program's files and its own process only
  limits,      ///< core dumps, descriptors, threads, sizes of files
  user,        ///< uid, gid and groups
  user_namespace,
  capabilities,  ///< bounding, inheritable, permitted, effective
  no_new_privs,
  filter,  ///< system calls
};

/// Always true in what is installed: walls.cpp says so, and a test program that links another one
/// in its place is the only way to take a wall away.
bool stands(Wall wall);

}  // namespace hako::jail
