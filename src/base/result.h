// Result<T>: a value or an Error. For outcomes that callers are expected to handle.
#pragma once

#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>
#include <boost/outcome/try.hpp>

#include "base/error.h"

namespace hako {

/// `[[nodiscard]]`; asking a failed result for its value ends the program.
/// Return a value, `Error(...)`, or `ok()` for Result<void>.
template <class T>
using Result =
    boost::outcome_v2::basic_result<T, Error, boost::outcome_v2::policy::terminate>;

/// Success of a `Result<void>`.
inline auto ok() { return boost::outcome_v2::success(); }

}  // namespace hako

// HAKO_TRY(auto x, expression): declares x from the value, or returns the error to the caller.
// HAKO_TRYV(expression): the same for Result<void>. The CO_ forms are for coroutines.
// Never put an aggregate temporary or a capturing lambda into a CO_ expression: GCC 12 destroys
// it twice. Name it first.
#define HAKO_TRY(...) BOOST_OUTCOME_TRY(__VA_ARGS__)
#define HAKO_TRYV(...) BOOST_OUTCOME_TRYV(__VA_ARGS__)
#define HAKO_CO_TRY(...) BOOST_OUTCOME_CO_TRY(__VA_ARGS__)
#define HAKO_CO_TRYV(...) BOOST_OUTCOME_CO_TRYV(__VA_ARGS__)
