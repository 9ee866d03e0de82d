// API keys and where the first one comes from.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "config/config.h"

namespace hako::api {

/// The id, in the store, of the key that the operator's key file holds.
inline constexpr std::string_view kOperatorKey = "operator";

/// "e2b_" and 40 lower-case hex digits: 160 random bits.
std::string make_api_key();
bool is_api_key(std::string_view text);
/// SHA-256 of the key, 64 hex digits.
std::string hash_api_key(std::string_view key);

/// The file with the hash of the operator's key, readable by the API: it stands in the state
/// directory, and not in the API's own, so that root never writes where another user may.
std::string key_hash_file(const config::Config& config);

/// Prepares what `hakod api` needs, called by whoever starts it, as root, before privileges drop:
/// the state directory (made if missing; others may pass through it), <state>/api (mode 0700, the
/// API's own), the key file (0600, root's, with a new key if missing) and the hash of that key
/// (0640, root's, for the group of the API). Removing the key file and starting again makes a new
/// key, and the old one is void. Run as another user it does the same without changing owners.
/// Errors: failed_precondition for a directory that belongs to somebody else, invalid_argument for
/// a key file that holds no key, or those of the operating system. Blocking.
Result<void> prepare_api_state(const config::Config& config);

/// The hash that prepare_api_state() left.
Result<std::string> read_key_hash(const config::Config& config);

}  // namespace hako::api
