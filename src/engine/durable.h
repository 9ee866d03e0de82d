// What is on disk appears whole or not at all, and stays there when the power goes.
#pragma once

#include <string>

#include "base/result.h"

namespace hako::engine {

/// Makes the names in a folder durable. Errors: the OS error.
Result<void> sync_directory(const std::string& path);

/// Gives `temporary`, a file or folder that has been synced, its final name, durably.
/// Errors: already_exists (also an empty folder), or the OS error.
Result<void> publish(const std::string& temporary, const std::string& path);

/// The same for a folder, in place of what has that name now, which is removed. After an error nothing
/// has changed, but that `temporary` is still to be removed. Errors: the OS error.
Result<void> put_in_place(const std::string& temporary, const std::string& path);

}  // namespace hako::engine
