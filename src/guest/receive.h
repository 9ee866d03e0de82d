// POST /files: files as one body, compressed or not, or as the parts of a form.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest/context.h"
#include "guest/file_tree.h"

namespace hako::guest {

struct StoredFiles {
  std::vector<std::string> paths;  ///< in the order of the request, never empty
  FileMetadata metadata;           ///< that each of them has got
};

/// Stores what the request's body holds: at `path` (as given, absent for the file names of a form's
/// parts), for `user`. Files that are not whole are removed again; those before them stay.
/// Errors: invalid_argument, no_space, unsupported (content encoding), or the body's.
Task<Result<StoredFiles>> receive_files(Context& context, http::Exchange& exchange, User user,
                                        std::optional<std::string> path);

/// [{"path","name","type","metadata"?},...]
std::string describe_stored(const StoredFiles& stored);

}  // namespace hako::guest
