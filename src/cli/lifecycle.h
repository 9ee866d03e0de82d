// Making and ending boxes, as several commands do it.
#pragma once

#include <functional>
#include <optional>

#include "cli/box.h"

namespace hako::cli {

/// How long a box without --ttl lives on when nobody renews it.
inline constexpr std::chrono::seconds kLease{300};

/// Creates a box. `fallback_template` where the options name none.
Task<Result<boost::json::value>> create(Api& api, BoxOptions options,
                                        std::string fallback_template);
/// Raises a box's label, unless it is that high already: data with this label is about to go in.
Task<Result<void>> raise_to_at_least(Api& api, std::string id, std::string label);
/// Destroys a box; one that has gone already is fine.
Task<Result<void>> destroy(Api& api, std::string id);
/// Every box the key may see, page by page.
Task<Result<boost::json::array>> list_all(Api& api);
/// Destroys all of `ids`, several at a time. `done` holds those destroyed; the first error is
/// returned once all have been tried.
Task<Result<void>> destroy_all(ApiAccess access, std::vector<std::string> ids,
                               std::vector<std::string>& done);
/// What is done in a box of one's own.
using BoxWork = std::function<Task<Result<void>>(Api& api, BoxAccess box)>;
/// Creates a box, has the work done in it, and destroys it, whatever has come of the work. A signal
/// cuts the work short; then it is the result.
Task<Result<std::optional<int>>> work_in_own_box(ApiAccess access, BoxOptions options,
                                                 std::string fallback_template, BoxWork work);
/// Extends the box's life by kLease from now, again and again, until cancelled.
Task<void> renew_lease(ApiAccess access, std::string id);

}  // namespace hako::cli
