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

}  // namespace hako::engine
