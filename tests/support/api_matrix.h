// Every operation of the OpenAPI document, asked by everybody who should not, and by one who may.
#pragma once

#include <string>
#include <vector>

#include "support/api_lab.h"

namespace hako::test {

/// What an operation is about, which says for whom it exists.
enum class About {
  nobody,   ///< open to all; nothing is to be seen
  caller,   ///< something new, or the caller's own: nobody else's is named
  list,     ///< of what exists for the caller
  agents,   ///< a thing of the agent build/a in the tenant acme
  tenants,  ///< a thing of the tenant acme, whoever in it asks
  keys,     ///< a key of the tenant acme, which acts there alone
  records,  ///< what was done in a tenant, which the operator sees of all
  guess,    ///< a path that is its own permission, and was not given out
};

/// How one operation is asked for, and what becomes of it where it is allowed. In the texts stand
/// for things of build/a: $box, $peer (a second one), $template (its id), $name, $build, $link, $snapshot (of
/// $box), $secret (its name); for
/// things of acme: $tenant, $key (a key that is there for this).
struct Expectation {
  std::string operation;  ///< "post /v2/sandboxes"
  About about;
  unsigned allowed;  ///< the status
  std::string query;
  std::string body;
  unsigned hidden = 404;  ///< for those for whom what it names does not exist
};

/// At least one for each operation; where one is missing or there is no such operation, the matrix
/// says so.
const std::vector<Expectation>& expectations();

/// Asks all of it. What is not as it should be, one sentence each.
Task<std::vector<std::string>> run_matrix(ApiLab& lab);

}  // namespace hako::test
