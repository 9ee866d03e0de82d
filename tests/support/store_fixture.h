// What the tests of the store share.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "store/store.h"

namespace hako::store {

/// A folder that goes with this.
class Folder {
 public:
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "hako-store-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline SandboxRecord record(const std::string& id, int64_t started_ms, std::string metadata = {}) {
  SandboxRecord made;
  made.id = id;
  made.template_name = "base";
  made.alias = "second-name";
  made.state = SandboxState::starting;
  made.started_ms = started_ms;
  made.ends_ms = started_ms + 1000;
  made.metadata = std::move(metadata);
  made.access_token = "token-" + id;
  made.key_id = "operator";
  return made;
}

inline ApiKey key(const std::string& id, const std::string& hash) {
  ApiKey made;
  made.id = id;
  made.hash = hash;
  made.created_ms = 1;
  return made;
}

inline Result<std::unique_ptr<Store>> open_in_memory() {
  return open_sqlite_store(":memory:");
}

}  // namespace hako::store
