// Changes in one folder, or in a tree of them, as the kernel tells them. The calls block (on the
// file system, not for changes): for threads of the blocking pool, one at a time for each watch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "guest/file_tree.h"
#include "wire/filesystem.h"

struct inotify_event;

namespace hako::guest {

struct WatchEvent {
  std::string name;  ///< relative to the watched folder
  wire::EventType type = wire::EventType::create;
  std::optional<FoundEntry> entry;  ///< as it was when the event was read
};

class Watch {
 public:
  /// Watches `options.path`, which must be absolute. Changes made from now on are seen.
  /// Errors: not_found; invalid_argument (not a folder, or on a network file system that was not
  /// allowed); resource_exhausted (too many folders for us or the kernel).
  static Result<std::unique_ptr<Watch>> open(wire::WatchRequest options);

  /// Readable when collect() has something to do. Ours.
  int descriptor() const { return inotify_.get(); }
  /// Appends what has happened, without waiting for more. Not everything need be taken at once.
  /// corrupted: events were lost. resource_exhausted: a new folder can no longer be watched.
  /// After an error the watch is of no further use.
  Result<void> collect(std::vector<WatchEvent>& events);
  /// The folder itself has gone, or has got another name: nothing more will come.
  bool ended() const { return ended_; }

 private:
  struct Folder {
    std::string path;  ///< relative, empty for the watched folder itself
    /// What a scan has told already: the kernel's own news of it, queued before `told_until`, is
    /// no news.
    std::set<std::string, std::less<>> told;
    uint64_t told_until = 0;
  };
  /// Whether what is found in a folder is told as created.
  enum class Found { known, news };

  explicit Watch(wire::WatchRequest options) : options_(std::move(options)) {}

  Result<void> add_tree(std::string path, Found found, std::vector<WatchEvent>* events);
  Result<void> scan(int folder, int watch, Found found, std::vector<WatchEvent>* events,
                    std::vector<std::string>& below);
  Result<void> take(const inotify_event& event, std::string_view name,
                    std::vector<WatchEvent>& events);
  Result<void> folder_appeared(const inotify_event& event, const std::string& path,
                               std::vector<WatchEvent>& events);
  void rename_folders(const std::string& from, const std::string& to);
  void forget_folders(const std::string& path);
  void forget_told();
  void tell(std::string name, wire::EventType type, std::vector<WatchEvent>& events) const;
  uint64_t queued() const;
  Result<Fd> open_folder(const std::string& path) const;

  wire::WatchRequest options_;
  Fd inotify_;
  std::map<int, Folder> folders_;
  int root_ = -1;
  bool ended_ = false;
  uint64_t taken_ = 0;          ///< bytes of the kernel's queue, up to the event at hand
  uint64_t read_ = 0;           ///< and up to the end of what was read
  std::vector<int> with_told_;  ///< folders whose `told` is in use
  /// Folders that have left their place, by the cookie under which they may turn up again.
  std::map<uint32_t, std::string> leaving_;
};

}  // namespace hako::guest
