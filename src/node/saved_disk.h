// Files of checkpoints and of what they stand on.
#pragma once

#include <string>

#include "base/fd.h"
#include "engine/sealed_file.h"

namespace hako::node {

/// The same file under another name where that is possible (not on another file system, nor of one
/// that was removed), else a copy; durable but for the name. It must not change any more. Blocking.
/// Errors: no_space, or the OS error.
Result<void> link_or_copy(int file, const std::string& path);

/// Writes the disk, which must not change any more, as the new file `path`, durably: its data only,
/// not its holes. In clear it is the same file. Returns a checksum for load_disk(). Blocking.
/// Errors: no_space, or the OS error.
Result<std::string> save_disk(int disk, const std::string& path, const engine::Seal& seal);

/// Opens it again, once all of it has been checked. Encrypted ones are written out in clear in
/// `folder`, as a file that is gone with its last descriptor. Blocking.
/// Errors: not_found, corrupted, no_space, or the OS error.
Result<Fd> load_disk(const std::string& path, const std::string& checksum,
                     const engine::Seal& seal, const std::string& folder);

/// The same for any sparse file, always as a stream of chunks that are each checked.
Result<void> save_sparse(int file, const std::string& path, const engine::Seal& seal);
/// Fills `target`, an empty file or one of that size. Errors: those of load_disk().
Result<void> load_sparse(const std::string& path, int target, const engine::Seal& seal);

/// A short text, sealed as well.
Result<void> save_text(const std::string& path, std::string_view text, const engine::Seal& seal);
Result<std::string> load_text(const std::string& path, const engine::Seal& seal);

}  // namespace hako::node
