// The walls between tenants, and between agents, one by one: so that a test can take one away and
// see that it was needed.
#pragma once

namespace hako::api {

enum class Wall {
  actions,         ///< a route's action must be left of the caller's permission
  scope_of_one,    ///< a sandbox of another tenant or agent is not found
  scope_of_lists,  ///< nor listed, nor counted
  templates,       ///< a template of another tenant or agent is not found, nor listed
  expiry,          ///< what has expired is refused
  revocation,      ///< and what was revoked
};

/// Always true in what is installed: walls.cpp says so, and a test program that links another one
/// in its place is the only way to take a wall away.
bool stands(Wall wall);

}  // namespace hako::api
