// The secret behind tokens: one for the whole server, and what follows from it for each key.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "config/config.h"

namespace hako::api {

/// 32 random bytes in <state>/api/token-master (0600), made if missing: the API's own, which even
/// the node does not read. Removing the file ends every token. corrupted if it holds anything else;
/// or those of the operating system. Blocking.
Result<std::string> read_or_make_token_master(const config::Config& config);

/// The root key of the tokens of one key, 32 bytes: HMAC-SHA256(master, "token:" id ":" hash). With
/// the key's hash in it, a key that is rotated or removed takes its tokens along.
std::string token_root_key(std::string_view master, std::string_view key_id,
                           std::string_view key_hash);

}  // namespace hako::api
