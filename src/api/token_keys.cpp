#include "api/token_keys.h"

#include <filesystem>

#include "base/fd.h"
#include "base/random.h"
#include "wire/macaroon.h"

namespace hako::api {
namespace {

constexpr size_t kMasterBytes = 32;

}  // namespace

Result<std::string> read_or_make_token_master(const config::Config& config) {
  std::string path =
      std::filesystem::path(config.database()).parent_path().string() + "/token-master";
  auto content = read_file(path, kMasterBytes + 1);
  if (!content && content.error().code() == ErrorCode::not_found) {
    std::string master = random_bytes(kMasterBytes);
    HAKO_TRYV(write_file_atomically(path, master, 0600));
    return master;
  }
  if (!content) return content.error().with_context("secret of the tokens");
  if (content.value().size() != kMasterBytes) {
    return Error(ErrorCode::corrupted,
                 path + " does not hold 32 bytes; remove it to have a new one made, which ends all "
                        "tokens");
  }
  return content;
}

std::string token_root_key(std::string_view master, std::string_view key_id,
                           std::string_view key_hash) {
  std::string message = "token:" + std::string(key_id) + ":" + std::string(key_hash);
  return wire::hmac_sha256(master, message);
}

}  // namespace hako::api
