// The append-only log: a chain of hashes over segments, with signed heads.
#pragma once

#include <memory>
#include <string>

#include "audit/record.h"
#include "base/async/task.h"

namespace hako::audit {

struct LogOptions {
  std::string directory;  ///< made if missing; 0700
  std::string key_file;   ///< Ed25519 secret key, made if missing, 0600; the public one beside it
  int64_t segment_bytes = 64 << 20;
  std::chrono::milliseconds sync_every{1000};  ///< fdatasync
  std::chrono::milliseconds sign_every{10000};
};

/// Writes records one after another on a thread of its own. Thread: one executor.
class Log {
 public:
  /// Opens it behind its last whole record; what a crash has left of a torn one is cut off, and a
  /// record says so. corrupted if what is there does not chain: then nothing is written, as nobody
  /// could tell afterwards what was wrong before. Blocking.
  static Result<std::unique_ptr<Log>> open(LogOptions options);
  virtual ~Log() = default;

  /// Returns once the kernel has it, so that it outlives us, however we end; it outlives the
  /// machine from the next sync on. Many at once share one write. no_space, unavailable: it is not
  /// written, and whoever asked must not do what it would have told of.
  virtual Task<Result<void>> append(Record record) = 0;
  /// The same without waiting: for what has happened already. Bounded; what cannot be kept is
  /// counted, and a record tells how many.
  virtual void append_later(Record record) = 0;
  /// Writes what waits, signs the head and closes. Blocking, at most a few seconds.
  virtual void close() = 0;
};

}  // namespace hako::audit
