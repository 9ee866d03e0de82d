// What a sandbox may call of models by what was asked for it and by who made it. Pure.
#pragma once

#include <boost/json.hpp>

#include <string_view>
#include <vector>

#include "api/field_reader.h"
#include "base/result.h"
#include "policy/permission.h"

namespace hako::api {

/// Takes `models` out of the body of a create: {allow?, requests?, tokens?, microUSD?}. As it is kept
/// with the sandbox's options; empty if there is none.
boost::json::object read_model_terms(FieldReader& reader);

/// Adds what the caveats of a token leave, which nobody knows later: the last `caveats` layers.
void keep_caveats(boost::json::object& terms, const policy::Permission& permission,
                  size_t caveats);

struct ModelTerms {
  policy::Narrowing box;                        ///< of the sandbox alone
  std::vector<policy::PermissionLayer> caveats; ///< of the tokens by which it was made
};

/// What a sandbox's options, as text, say of it. corrupted for what cannot be read: it is a restriction.
Result<ModelTerms> model_terms_of(std::string_view options);

}  // namespace hako::api
