// Checkpoints on disk, each one file.
#pragma once

#include <string>

#include "engine/engine.h"
#include "engine/sealed_file.h"

namespace hako::engine {

/// Writes `checkpoint` as the file `path`, readable by its owner only, whose folder must exist. It
/// appears whole or not at all (a crash may leave <path>.tmp-*), and once this has returned it is
/// there for good. `seal`: see there; load_checkpoint() wants the same. Blocking: as long as the
/// disk takes for what the checkpoint's memory holds.
/// Errors: already_exists, no_space, or the OS error; nothing is left behind then.
Result<void> save_checkpoint(const Checkpoint& checkpoint, const std::string& path,
                             const Seal& seal);

/// Reads it back. Blocking. Nothing is returned before all of it has been checked.
/// Errors: not_found; corrupted (names the file: changed, cut off, another's, of another key);
/// unsupported (written by a later version); invalid_argument (a key of another size).
Result<Checkpoint> load_checkpoint(const std::string& path, const Seal& seal);

}  // namespace hako::engine
