// Snapshots on disk: a folder with meta.json, device-state and memory (sparse).
#pragma once

#include <string>
#include <string_view>

#include "engine/engine.h"

namespace hako::engine {

/// Content of meta.json.
struct SnapshotMeta {
  MachineSize size;
  Fingerprint fingerprint;
  size_t device_state_bytes = 0;
  std::string device_state_sha256;  ///< hex
  /// Over position and content of every page that is not all zero, hex.
  std::string memory_sha256;
};

std::string format_snapshot_meta(const SnapshotMeta& meta);
/// Errors: corrupted (says which field); unsupported (written by a later version).
Result<SnapshotMeta> parse_snapshot_meta(std::string_view text);

/// Writes `snapshot` as the folder `directory`, whose parent must exist. It appears whole or not at
/// all; its files are readable by their owner only. Blocking: some 0.1 s for 256 MiB.
/// Errors: already_exists, no_space, or the OS error; nothing is left behind then.
Result<void> save_snapshot(const Snapshot& snapshot, const std::string& directory);

/// Reads it back into a sealed memfd. Blocking. The checksums find accidents, not malice: whoever
/// can write the folder can make a VMM load any state.
/// Errors: not_found, corrupted (names the file), unsupported, or the OS error.
Result<Snapshot> load_snapshot(const std::string& directory);

}  // namespace hako::engine
