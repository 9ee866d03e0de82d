// The walls around what leaves a box, one by one: so that a test can take one away and see that it
// was needed.
#pragma once

namespace hako::gate {

enum class Wall {
  sni,             ///< what a TLS client names must be what allowed the connection
  dns_names,       ///< only names that the policy allows are answered
  private_ranges,  ///< addresses that are not public are refused
  own_addresses,   ///< addresses of this host are refused
  grants,          ///< a request for a daemon must show a grant that is good for it
  host_header,     ///< what an HTTP request names must be what allowed the connection
  placeholders,    ///< a secret's placeholder passes only where it becomes the secret
  echoes,          ///< what was put in for a placeholder does not come back
  counted,         ///< what cannot be counted does not reach a model
};

/// Always true in what is installed: walls.cpp says so, and a test program that links another one
/// in its place is the only way to take a wall away.
bool stands(Wall wall);

}  // namespace hako::gate
