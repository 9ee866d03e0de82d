// The one key that everything about secrets hangs on: what is derived from it, and where it is from.
#pragma once

#include <array>
#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::vault {

inline constexpr size_t kMasterKeyBytes = 32;

/// Held in memory only, and wiped when it goes. Never logged, never written.
class MasterKey {
 public:
  /// Exactly kMasterKeyBytes.
  explicit MasterKey(std::string_view bytes);
  ~MasterKey();
  MasterKey(const MasterKey&) = default;
  MasterKey& operator=(const MasterKey&) = default;

  /// HKDF-SHA256 with `purpose` and `about` as info: other bytes for each pair of them.
  /// `length`: at most 8160 bytes.
  std::string derive(std::string_view purpose, std::string_view about, size_t length) const;

 private:
  std::array<unsigned char, kMasterKeyBytes> bytes_;
};

/// 32 bytes as they are, or in hex or base64, with a line's end behind them or not.
/// invalid_argument, without what it was.
Result<MasterKey> parse_master_key(std::string text);

/// The file must be root's (or ours) and nobody else's to read. Blocking.
/// Errors: not_found, permission_denied, invalid_argument; all name the file.
Result<MasterKey> read_master_key_file(const std::string& path);

/// Runs `command` with /bin/sh -c, without our environment but PATH, and takes what it prints.
/// Blocking; it is killed, with what it has started, after `limit`.
/// Errors: failed_precondition (it failed, or printed no key), timed_out; never with its output.
Result<MasterKey> run_master_key_command(const std::string& command, std::chrono::seconds limit);

}  // namespace hako::vault
