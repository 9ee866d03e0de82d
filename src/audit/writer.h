// Writes a log's files: what the threads of Log work with, and nothing else does. Blocking.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "audit/folder.h"
#include "audit/keys.h"
#include "audit/line.h"
#include "audit/log.h"
#include "base/fd.h"

namespace hako::audit {

/// Thread: one at a time.
class Writer {
 public:
  /// As Log::open(). Begins with a signed head.
  static Result<std::unique_ptr<Writer>> open(LogOptions options);

  /// All of them as one write(2), or none: then what had got into the file has been cut off again.
  /// Errors: no_space and others of files; corrupted if somebody else has changed the file.
  Result<void> write(std::span<const std::string> bodies);
  /// A signed record of what has been written.
  Result<void> write_head(std::string_view why);
  /// Ends the segment, if it is full, with a signed record, and begins the next with one; then
  /// removes segments that are too old. Errors: as write(); it is tried again the next time.
  Result<void> rotate_if_full();

  /// The segment that begins with `first` could not be synced. The kernel may then have let go of
  /// what it held, and would say of the next sync that all is well: nothing more is written before
  /// renew_doubtful() has succeeded.
  void doubt(int64_t first) { doubtful_.insert(first); }
  /// Writes doubtful segments to new files, and has these on the disk before they take the places
  /// of the old. Errors: those of files; corrupted if records are gone. It is tried again the next
  /// time.
  Result<void> renew_doubtful();
  bool doubts() const { return !doubtful_.empty(); }

  /// The segment that is written to, shared with whoever syncs it.
  std::shared_ptr<Fd> file() const { return file_; }
  /// The sequence it begins with.
  int64_t first_sequence() const { return first_; }
  /// The last signed line, and its sequence.
  const std::string& head() const { return head_; }
  int64_t head_sequence() const { return head_sequence_; }
  int64_t last_sequence() const { return next_.sequence - 1; }
  const PublicKey& public_key() const { return key_.public_key(); }
  const LogOptions& options() const { return options_; }
  /// Writes `head` to head.json so that it outlives the machine. Any thread.
  Result<void> publish(const std::string& head) const;

 private:
  Writer(LogOptions options, Folder folder, SigningKey key, Fd lock);
  Result<void> start();
  Result<void> begin_log();
  Result<void> go_on(std::vector<int64_t> segments);
  Result<void> open_segment(int64_t first, int flags);
  Result<void> append_text(const std::string& text);
  Result<void> cut_back();
  void remove_old();
  Result<void> sync();
  Result<void> renew(int64_t first);
  Result<Link> link_behind(int64_t first) const;

  LogOptions options_;
  Folder folder_;
  SigningKey key_;
  Fd lock_;
  std::string log_;  ///< its name
  std::shared_ptr<Fd> file_;
  int64_t first_ = 0;        ///< sequence of the segment
  int64_t size_ = 0;         ///< of the segment, bytes: whole lines
  bool uncut_ = false;       ///< there may be more in it, of a write that has failed
  std::set<int64_t> doubtful_;  ///< segments that could not be synced
  Link next_{1, no_hash()};  ///< of the record to come
  std::string head_;
  int64_t head_sequence_ = 0;
};

}  // namespace hako::audit
