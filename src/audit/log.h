// The append-only log: a chain of hashes over segments, with signed heads.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "audit/keys.h"
#include "audit/record.h"
#include "base/async/task.h"

namespace hako::audit {

struct LogOptions {
  std::string directory;  ///< made if missing; 0700
  std::string key_file;   ///< Ed25519 secret key, made if missing, 0600; the public one beside it
  int64_t segment_bytes = 64 << 20;  ///< a segment ends behind the record that reaches this
  /// How many segments are kept, the one written to included, and for how long; 0: all, for ever.
  int64_t keep_segments = 0;
  std::chrono::hours keep_for{0};
  std::chrono::milliseconds sync_every{1000};   ///< fdatasync
  std::chrono::milliseconds sign_every{10000};  ///< if there is something new
};

/// Writes records one after another on a thread of its own. Thread: one executor.
class Log {
 public:
  static constexpr size_t kMostWaiting = 8192;  ///< records; of each of the two ways to append

  /// Opens it behind its last whole record; what a crash has left of a torn one is cut off, and a
  /// record says so. corrupted if what is there does not chain, is not signed with this key, or
  /// ends before what head.json says there was: then nothing is written, as nobody could tell
  /// afterwards what was wrong before. An operator goes on by moving the folder away
  /// (`hako audit seal-off`); the next open begins a new log. Only the last segment is read.
  /// failed_precondition if another process writes to it. Blocking.
  static Result<std::unique_ptr<Log>> open(LogOptions options);
  virtual ~Log() = default;

  /// Returns once the kernel has it, so that it outlives us, however we end; it outlives the
  /// machine from the next sync on. Many at once share one write. no_space, unavailable: it is not
  /// written, and whoever asked must not do what it would have told of.
  /// Cannot be cancelled: the caller waits until it is known.
  virtual Task<Result<void>> append(Record record) = 0;
  /// The same without waiting: for what has happened already. Bounded; what cannot be kept is
  /// counted, and a record tells how many. Any thread.
  virtual void append_later(Record record) = 0;
  /// Why nothing can be written now, as far as is known: the last write or sync has failed, and
  /// none has succeeded since. After a failed sync nothing is appended before all that was written
  /// stands in a new file that is on the disk, as the kernel may have let go of the old one's. It
  /// is tried again each second. Any thread.
  virtual Result<void> ready() const = 0;
  /// The latest signed head that is on disk for sure: the line as it stands in the log. Any thread.
  virtual std::string head() const = 0;
  /// The last record that the kernel has. Any thread.
  virtual int64_t last_sequence() const = 0;
  virtual const PublicKey& public_key() const = 0;
  virtual const std::string& directory() const = 0;
  /// Writes what waits, signs the head and closes. Blocking, at most a few seconds.
  virtual void close() = 0;
};

/// Moves the log in `directory` away, to `directory`.sealed-<time>, so that the next open begins a
/// new one. Returns the new name. failed_precondition while a process writes to it. Blocking.
Result<std::string> seal_off(const std::string& directory);

}  // namespace hako::audit
