// Files that clients send for building templates, kept until they are used, and for the next build.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/async/turn_queue.h"
#include "base/fd.h"
#include "config/config.h"
#include "http/server.h"

namespace hako::api {

/// One upload is named by the template it is for and a hash that the client has chosen; what it
/// really holds is told by its digest. Uploads come to a path that only who was given it knows, as
/// the clients send no key with them. What was used longest ago goes first. Thread: one executor.
class TemplateFiles {
 public:
  static constexpr int64_t kLargestFile = int64_t(4) << 30;
  static constexpr int64_t kMostBytes = int64_t(16) << 30;  ///< of all
  static constexpr size_t kMostGrants = 4096;
  static constexpr std::string_view kPath = "/v1/template-files/";

  explicit TemplateFiles(const config::Config& config);

  /// 64 hex digits.
  static bool is_hash(std::string_view text);

  bool present(const std::string& template_id, const std::string& hash) const;
  /// The path that takes this upload for the next hour. resource_exhausted.
  Result<std::string> grant(const std::string& template_id, const std::string& hash);
  /// Whether a request is an upload; and what serves it.
  static bool is_upload(const http::RequestHead& head);
  Task<void> serve(http::Exchange& exchange);

  struct File {
    Fd content;
    std::string digest;  ///< SHA-256 of it, hex
  };
  /// not_found.
  Result<File> open(const std::string& template_id, const std::string& hash);
  void remove_all_of(const std::string& template_id);
  asio::thread_pool& disk() { return disk_; }

 private:
  struct Grant {
    std::string name;
    std::chrono::steady_clock::time_point until;
    bool in_use = false;
  };

  Task<Result<void>> receive(http::Exchange& exchange, std::string name);
  void make_room(int64_t bytes) const;
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
  std::map<std::string, Grant> grants_;
  int64_t receiving_ = 0;  ///< bytes of uploads that have not ended
  asio::thread_pool disk_{2};
};

}  // namespace hako::api
