// Files that clients send for building templates, kept until they are used, and for the next build.
#pragma once

#include <map>
#include <string>

#include "api/principal.h"
#include "base/fd.h"
#include "config/config.h"
#include "http/server.h"
#include "store/async_store.h"

namespace hako::api {

/// One upload is named by the template it is for and a hash that the client has chosen; what it
/// really holds is told by its digest. Uploads come to a path that only who was given it knows, as
/// the clients send no key with them; it is good for one upload, and goes with the key or token that
/// it was given to. No tenant takes what others need: of what is kept, and of paths that wait, those
/// of the tenant with the most go first, and of them the oldest. Thread: one executor.
class TemplateFiles {
 public:
  static constexpr int64_t kLargestFile = int64_t(4) << 30;
  static constexpr int64_t kMostBytes = int64_t(16) << 30;  ///< kept of all, or being received
  static constexpr int64_t kMostBytesOfOne = int64_t(8) << 30;  ///< of them one tenant's
  static constexpr size_t kMostGrants = 4096;
  static constexpr size_t kMostGrantsOfOne = 512;  ///< of them one tenant's
  static constexpr std::string_view kPath = "/v1/template-files/";

  TemplateFiles(const config::Config& config, store::AsyncStore& store);

  struct Name {
    std::string tenant;
    std::string template_id;
    std::string hash;
  };
  /// 64 hex digits.
  static bool is_hash(std::string_view text);

  bool present(const Name& name) const;
  /// The path that takes this upload once, within the next hour, for as long as `who` may build.
  /// resource_exhausted: as many are being received as may be.
  Result<std::string> grant(const Name& name, Principal who);
  /// Whether a request is an upload; and what serves it.
  static bool is_upload(const http::RequestHead& head);
  Task<void> serve(http::Exchange& exchange);
  /// Forgets the paths of those who may not build any more.
  Task<void> drop_stale();

  struct File {
    Fd content;
    std::string digest;  ///< SHA-256 of it, hex
  };
  /// not_found.
  Result<File> open(const Name& name);
  void remove_all_of(const std::string& tenant, const std::string& template_id);
  asio::thread_pool& disk() { return disk_; }

 private:
  struct Grant {
    Name name;
    Principal who;
    std::chrono::steady_clock::time_point until;
    bool in_use = false;
  };
  using Grants = std::map<std::string, Grant>;

  /// Whether there is room for one more grant of the tenant now.
  bool make_room_for_grant(const std::string& tenant);
  Task<Result<void>> may_upload(Principal who);
  Result<void> check_room() const;
  Task<Result<void>> receive(http::Exchange& exchange, Name name, Principal who);
  void make_room(const std::string& tenant, int64_t bytes) const;
  std::string path(const std::string& file) const { return folder_ + "/" + file; }

  store::AsyncStore& store_;
  std::string folder_;
  const int64_t min_free_disk_mib_;
  Grants grants_;
  std::map<std::string, int64_t> receiving_;  ///< bytes of uploads that have not ended, by tenant
  asio::thread_pool disk_{2};
};

}  // namespace hako::api
