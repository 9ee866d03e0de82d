#include "node/layers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/folder.h"
#include "base/random.h"

namespace hako::node {

namespace fs = std::filesystem;

bool Layers::is_key(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::optional<Layers::Found> Layers::find(const std::vector<std::string>& keys) const {
  for (size_t steps = keys.size(); steps > 0; --steps) {
    std::string path = context_.layer_dir() + "/" + keys[steps - 1];
    // The time of its last use, by which the oldest is found.
    if (::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0)
      return Found{steps, path};
  }
  return std::nullopt;
}

Task<Result<void>> Layers::keep(Vm& vm, std::string key) {
  std::string fresh = context_.layer_dir() + "/.new-" + random_hex(6);
  HAKO_CO_TRYV(co_await sync_guest(context_, vm));
  auto copied = co_await vm.copy_scratch(fresh);
  if (!copied) {
    ::unlink(fresh.c_str());
    co_return copied.error();
  }
  auto work = [&]() -> Result<void> {
    std::string path = context_.layer_dir() + "/" + key;
    if (::rename(fresh.c_str(), path.c_str()) < 0) {
      int error = errno;
      ::unlink(fresh.c_str());
      return Error::from_errno(error, "name a layer");
    }
    drop_oldest(key);
    return ok();
  };
  co_return co_await run_blocking(context_.blocking, work);
}

void Layers::drop_oldest(const std::string& newest) const {
  struct Layer {
    std::string path;
    timespec used;
    int64_t bytes;
  };
  std::vector<Layer> layers;
  int64_t total = 0;
  std::error_code error;
  for (const auto& entry : entries_of(context_.layer_dir(), error)) {
    struct stat info {};
    std::string name = entry.path().filename();
    if (name.starts_with(".") || ::lstat(entry.path().c_str(), &info) < 0) continue;
    int64_t bytes = int64_t(info.st_blocks) * 512;
    total += bytes;
    if (name != newest) layers.push_back({entry.path(), info.st_mtim, bytes});
  }
  std::sort(layers.begin(), layers.end(), [](const Layer& a, const Layer& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  size_t left = layers.size() + 1;
  for (const Layer& layer : layers) {
    if (left <= kMostLayers && total <= kMostBytes) break;
    ::unlink(layer.path.c_str());
    total -= layer.bytes;
    --left;
  }
}

}  // namespace hako::node
