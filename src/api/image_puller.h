// Images from registries.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/image_name.h"
#include "api/registry_door.h"
#include "api/template_recipe.h"
#include "base/async/task.h"
#include "base/fd.h"
#include "config/config.h"

namespace hako::api {

/// One image that is being pulled, by the program skopeo: without privileges, without a network but
/// for what RegistryDoor lets through, in a folder of its own that goes with this object. All of it
/// together takes kPullTime at most. Errors are fit for the user and hold no secret: what the
/// registry said (failed_precondition), permission_denied for a host that is not listed, too_large,
/// timed_out, not_found for an image that is not for this machine. Thread: one executor.
class ImagePull {
 public:
  static constexpr auto kPullTime = std::chrono::minutes(10);
  /// Takes lines of progress.
  using Say = std::function<void(std::string_view line)>;

  ImagePull(const config::Config& config, const policy::RegistryLists& lists,
            asio::thread_pool& disk, std::string folder, ImageName name, RegistryLogin login,
            Say say);
  ~ImagePull();
  ImagePull(const ImagePull&) = delete;
  ImagePull& operator=(const ImagePull&) = delete;

  /// Asks which image the name means today: the digest of its manifest.
  Task<Result<std::string>> look();
  /// Brings the image that look() found, as an OCI archive with gzip layers; the file has no name.
  Task<Result<Fd>> fetch();

 private:
  struct Run;
  Task<Result<std::string>> describe(std::string reference);
  Task<Result<void>> run(std::vector<std::string> arguments, Fd out);
  Task<void> follow(Run& run);
  Task<void> watch_size();
  Result<void> prepare();
  Error failure(const Run& run) const;
  std::string hide_secrets(std::string text) const;
  Duration time_left() const;

  const config::Config& config_;
  const policy::RegistryLists& lists_;
  asio::thread_pool& disk_;
  std::string folder_;
  ImageName name_;
  RegistryLogin login_;
  Say say_;
  std::chrono::steady_clock::time_point until_;
  std::string digest_;
  int64_t bytes_ = 0;  ///< that the registry says the layers have
  bool too_big_ = false;
};

/// Begins pulls, and clears away what those of an earlier run left.
class ImagePuller {
 public:
  /// `disk`: where blocking work on files goes; outlives this and its pulls.
  ImagePuller(const config::Config& config, asio::thread_pool& disk);

  /// permission_denied, naming the setting, for a registry that is not listed; unsupported without
  /// skopeo.
  Result<void> admit(const ImageName& name) const;
  std::unique_ptr<ImagePull> begin(ImageName name, RegistryLogin login, ImagePull::Say say) const;

 private:
  const config::Config& config_;
  policy::RegistryLists lists_;
  asio::thread_pool& disk_;
  std::string folder_;
};

}  // namespace hako::api
