// The steps from an older schema to the present one.
#pragma once

#include "store/sqlite.h"

namespace hako::store {

/// The schema this build writes; kept in PRAGMA user_version.
int current_schema();

/// Brings the schema up to date, each step in a transaction of its own.
/// failed_precondition if the database is newer than this build.
Result<void> migrate(Database& database);

}  // namespace hako::store
