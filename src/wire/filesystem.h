// The messages of filesystem.Filesystem.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hako::wire {

enum class FileType { unspecified, file, directory, symlink };

struct EntryInfo {
  std::string name;
  FileType type = FileType::unspecified;  ///< of the target, for a symbolic link
  std::string path;
  int64_t size = 0;         ///< bytes
  uint32_t mode = 0;        ///< permission bits
  std::string permissions;  ///< "-rw-r--r--"
  std::string owner;        ///< names, or numbers where there is none
  std::string group;
  int64_t modified_seconds = 0;  ///< Unix time
  uint32_t modified_nanoseconds = 0;
  std::optional<std::string> symlink_target;
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// Appends the entry as a JSON object. Names need not be UTF-8.
void append_entry(std::string& out, const EntryInfo& entry);
/// corrupted when it is not an entry.
Result<EntryInfo> parse_entry(const boost::json::object& object);

struct WatchRequest {
  std::string path;  ///< as given
  bool recursive = false;
  bool include_entry = false;
  bool allow_network_mounts = false;
};
/// invalid_argument, naming the field.
Result<WatchRequest> parse_watch(const boost::json::object& request);

enum class EventType { create = 1, write, remove, rename, chmod };

/// Appends a change of a watched folder as a JSON object. `name` is relative to the folder and need
/// not be UTF-8; `entry` may be null.
void append_file_event(std::string& out, std::string_view name, EventType type,
                       const EntryInfo* entry);

/// "drwxr-xr-x": what `kind` letters come before the permission bits of `mode`; "-" for none.
std::string permission_text(std::string_view kind, uint32_t mode);

}  // namespace hako::wire
