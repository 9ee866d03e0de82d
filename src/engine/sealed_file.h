// Files of which nothing is believed that was not checked: written and read as a stream of chunks,
// each with a checksum or, where there is a key, encrypted.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/fd.h"

namespace hako::engine {

inline constexpr size_t kSealKeyBytes = 32;

struct Seal {
  /// What the file is of, e.g. a kind and an id: one that was written for anything else is refused,
  /// however whole it is.
  std::string purpose;
  /// kSealKeyBytes: encrypts, and refuses whatever was not written with it (XChaCha20-Poly1305).
  /// Without one the file is in clear, and its checksums (BLAKE2b) find accidents, not malice.
  std::optional<std::string> key;
};

/// Writes a file from its start. What has no finish() is not taken for a whole file later.
/// Blocking.
class SealedWriter {
 public:
  /// `file` is borrowed. Errors: invalid_argument (a key of another size), or the OS error.
  static Result<SealedWriter> begin(int file, const Seal& seal);
  SealedWriter(SealedWriter&&) noexcept;
  ~SealedWriter();

  /// Errors: no_space, or the OS error.
  Result<void> write(std::span<const std::byte> bytes);
  /// Writes the end, and syncs the file.
  Result<void> finish();

 private:
  struct State;
  explicit SealedWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Reads one back from its start. Blocking. All errors but those of the OS are corrupted, and begin
/// with `name`.
class SealedReader {
 public:
  /// `file` is borrowed. Errors: corrupted (not such a file, of another purpose or key; encrypted
  /// without a key given, or the other way round), invalid_argument (a key of another size).
  static Result<SealedReader> begin(int file, std::string name, const Seal& seal);
  SealedReader(SealedReader&&) noexcept;
  ~SealedReader();

  /// Fills `bytes`, with what has been checked. corrupted: changed, cut off, or at its end before.
  Result<void> read(std::span<std::byte> bytes);
  /// corrupted unless everything was read, and that was all.
  Result<void> finish();

 private:
  struct State;
  explicit SealedReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hako::engine
