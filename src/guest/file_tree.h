// Calls on the tree of files. They block: for threads of the blocking pool.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "wire/filesystem.h"

namespace hako::guest {

/// An entry whose owners are still numbers.
struct FoundEntry {
  wire::EntryInfo info;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
  bool give = true;  ///< false where we are not root: what we make stays ours
};

/// not_found.
Result<FoundEntry> stat_entry(const std::string& path);
/// What lies under `path`, parents before children, by name, at most `depth` levels deep.
/// not_found; invalid_argument (not a directory); failed_precondition (a loop of symbolic links);
/// resource_exhausted (more than `limit` entries).
Result<std::vector<FoundEntry>> list_entries(const std::string& path, int depth, size_t limit);
/// Makes `path` and its missing parents, which belong to `owner`.
/// already_exists (a directory), invalid_argument (something else is in the way).
Result<void> make_directory(const std::string& path, const Owner& owner);
/// As above; an existing directory is fine.
Result<void> ensure_directory(const std::string& path, const Owner& owner);
/// Makes the destination's missing parents. not_found (source).
Result<void> move_entry(const std::string& source, const std::string& destination,
                        const Owner& owner);
/// With all that is in it. A missing path is no error.
Result<void> remove_entry(const std::string& path);

using FileMetadata = std::vector<std::pair<std::string, std::string>>;
/// The extended attributes that hold a client's metadata.
FileMetadata read_metadata(const std::string& path);
/// Replaces them all. unsupported where the file system has none and there is something to keep.
Result<void> write_metadata(const Fd& file, const FileMetadata& metadata);

}  // namespace hako::guest
