#include "api/keys.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/encoding.h"
#include "base/fd.h"
#include "base/random.h"

namespace hako::api {
namespace {

constexpr std::string_view kPrefix = "e2b_";
constexpr size_t kKeyBytes = 20;

bool is_lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_root() {
  return ::geteuid() == 0;
}

/// Makes every missing directory of an absolute path.
Result<void> make_directories(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
      return Error::from_errno(errno, "make directory " + part);
    }
    if (slash == std::string::npos) return ok();
  }
}

/// The state directory: ours alone to write in, and for others to pass through.
Result<Fd> open_state_directory(const std::string& path) {
  HAKO_TRYV(make_directories(path));
  HAKO_TRY(auto directory, open_file(path, O_RDONLY | O_DIRECTORY));
  struct stat info {};
  if (::fstat(directory.get(), &info) != 0) return Error::from_errno(errno, "stat " + path);
  if (info.st_uid != ::geteuid()) {
    return Error(ErrorCode::failed_precondition,
                 path + " belongs to user " + std::to_string(info.st_uid) +
                     " and not to the one who starts hako (" + std::to_string(::geteuid()) + ")");
  }
  mode_t wanted = (info.st_mode & 07777 & ~mode_t(S_IWGRP | S_IWOTH)) | S_IXGRP | S_IXOTH;
  if ((info.st_mode & 07777) != wanted && ::fchmod(directory.get(), wanted) != 0) {
    return Error::from_errno(errno, "change mode of " + path);
  }
  return directory;
}

/// <state>/api, the API's own.
Result<void> make_api_directory(const Fd& state, const std::string& path, uint32_t uid) {
  if (::mkdirat(state.get(), "api", 0700) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, "make directory " + path);
  }
  Fd directory(::openat(state.get(), "api", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return Error::from_errno(errno, "open " + path);
  if (::fchmod(directory.get(), 0700) != 0) {
    return Error::from_errno(errno, "change mode of " + path);
  }
  if (is_root() && ::fchown(directory.get(), uid, uid) != 0) {
    return Error::from_errno(errno, "change owner of " + path);
  }
  return ok();
}

/// The key in the operator's file, which is made if missing.
Result<std::string> read_or_make_key(const std::string& path) {
  auto content = read_file(path, 4096);
  if (!content && content.error().code() != ErrorCode::not_found) {
    return content.error().with_context("API key");
  }
  if (!content) {
    std::string key = make_api_key();
    HAKO_TRYV(write_file_atomically(path, key + "\n", 0600));
    return key;
  }
  std::string key = std::move(content.value());
  while (!key.empty() && (key.back() == '\n' || key.back() == ' ' || key.back() == '\r')) {
    key.pop_back();
  }
  if (!is_api_key(key)) {
    return Error(ErrorCode::invalid_argument,
                 path +
                     " holds no API key (e2b_ and 40 hex digits); remove it to have a new one "
                     "made");
  }
  return key;
}

}  // namespace

std::string make_api_key() {
  return std::string(kPrefix) + random_hex(kKeyBytes);
}

bool is_api_key(std::string_view text) {
  return text.size() == kPrefix.size() + 2 * kKeyBytes &&
         text.substr(0, kPrefix.size()) == kPrefix && is_lower_hex(text.substr(kPrefix.size()));
}

std::string hash_api_key(std::string_view key) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  // SAFETY: a key is bytes to the hash; the views have the lengths that are passed.
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest);
  return hex_encode({reinterpret_cast<const char*>(digest), sizeof digest});
}

std::string key_hash_file(const config::Config& config) {
  return config.state_dir + "/api-key.sha256";
}

Result<void> prepare_api_state(const config::Config& config) {
  HAKO_TRY(auto state, open_state_directory(config.state_dir));
  HAKO_TRYV(make_api_directory(state, config.state_dir + "/api", config.api_uid));
  HAKO_TRY(auto key, read_or_make_key(config.key_file()));
  std::string path = key_hash_file(config);
  std::string wanted = hash_api_key(key) + "\n";
  HAKO_TRYV(write_file_atomically(path, wanted, 0640));
  if (is_root() && ::chown(path.c_str(), 0, config.api_uid) != 0) {
    return Error::from_errno(errno, "change group of " + path);
  }
  return ok();
}

Result<std::string> read_key_hash(const config::Config& config) {
  auto content = read_file(key_hash_file(config), 4096);
  if (!content) return content.error().with_context("hash of the API key");
  std::string hash = content.value().substr(0, content.value().find('\n'));
  if (hash.size() != 2 * SHA256_DIGEST_LENGTH || !is_lower_hex(hash)) {
    return Error(ErrorCode::corrupted,
                 key_hash_file(config) + " holds no hash; start hako again to have it made anew");
  }
  return hash;
}

}  // namespace hako::api
