#include "audit/writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "audit/segments.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

namespace hako::audit {
namespace {

constexpr size_t kLogNameBytes = 8;
constexpr size_t kLongestHeadFile = 4096;
constexpr int64_t kCopiedBytes = 1 << 20;
constexpr const char* kRenewedName = "renewed.tmp";

Error does_not_chain(const std::string& directory, const std::string& why) {
  return Error(
      ErrorCode::corrupted,
      "audit log " + directory + ": " + why +
          "; nothing is written to it until an operator has looked (hako audit verify) and "
          "moved it away (hako audit seal-off)");
}

Result<Fd> lock_folder(const Folder& folder) {
  HAKO_TRY(auto lock, folder.open_file("lock", O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return Error::from_errno(errno, "lock " + folder.path());
  return Error(ErrorCode::failed_precondition,
               folder.path() + " is written to by another process");
}

/// The first `most` bytes of a file, or all.
Result<void> copy_bytes(const Fd& from, const Fd& to, int64_t most) {
  std::string piece;
  for (int64_t at = 0; at < most; at += int64_t(piece.size())) {
    piece.resize(size_t(std::min<int64_t>(most - at, kCopiedBytes)));
    ssize_t count = ::pread(from.get(), piece.data(), piece.size(), at);
    if (count < 0 && errno != EINTR) return Error::from_errno(errno, "read segment");
    if (count == 0) break;
    piece.resize(size_t(std::max<ssize_t>(count, 0)));
    HAKO_TRYV(write_all(to.get(), piece));
  }
  return ok();
}

/// What reading a segment to its end tells.
struct Ending {
  int64_t lines = 0;
  int64_t size = 0;        ///< of its whole lines
  int64_t torn_bytes = 0;  ///< behind them
  Link first;              ///< of its first line
  Link next;               ///< what the line to come must have
  std::string head;        ///< the last signed line
  int64_t head_sequence = 0;
  std::string log, key;   ///< as its heads say
  std::string published;  ///< the line with the sequence that was asked for
};

/// Reads a segment from its beginning and checks that it chains and that its heads are signed with
/// `key`. A last line without an end is left out, and so is what has nothing but zeros.
class EndingReader {
 public:
  /// `name` is a file in `folder`.
  EndingReader(const Folder& folder, std::string name, const PublicKey& key, int64_t wanted)
      : folder_(folder), name_(std::move(name)), key_(key), wanted_(wanted) {}

  Result<Ending> run() {
    HAKO_TRY(auto file, folder_.open_file(name_, O_RDONLY));
    struct stat info {};
    if (::fstat(file.get(), &info) < 0) return Error::from_errno(errno, "stat " + name_);
    LineReader reader(std::move(file));
    for (;;) {
      HAKO_TRY(auto line, reader.next());
      if (!line) break;
      if (ending_.torn_bytes > 0) return wrong("is too long");
      if (line->whole) {
        HAKO_TRYV(take(line->text));
        ending_.size = line->offset + int64_t(line->text.size()) + 1;
      } else {
        ending_.torn_bytes = info.st_size - line->offset;
      }
    }
    return std::move(ending_);
  }

 private:
  Error wrong(const std::string& what) const {
    return Error(ErrorCode::corrupted,
                 name_ + ": line " + std::to_string(ending_.lines + 1) + " " + what);
  }

  Result<void> take(std::string_view text) {
    auto link = parse_link(text);
    if (!link) return wrong("is no record");
    if (ending_.lines == 0) ending_.first = *link;
    if (ending_.lines > 0 &&
        (link->sequence != ending_.next.sequence || link->previous != ending_.next.previous)) {
      return wrong("does not follow from the one before");
    }
    if (is_head(text)) {
      HAKO_TRYV(take_head(text));
    } else if (ending_.lines == 0) {
      return wrong("is not signed, as the first of a segment must be");
    }
    if (link->sequence == wanted_) ending_.published = text;
    ending_.next = Link{link->sequence + 1, hash_line(text)};
    ++ending_.lines;
    return ok();
  }

  Result<void> take_head(std::string_view text) {
    auto head = parse_head(text);
    if (!head || !is_signed_by(text, key_)) return wrong("is not signed with this log's key");
    if (ending_.lines > 0 && head->log != ending_.log) return wrong("is of another log");
    ending_.log = head->log;
    ending_.head = text;
    ending_.head_sequence = head->link.sequence;
    return ok();
  }

  const Folder& folder_;
  std::string name_;
  const PublicKey& key_;
  int64_t wanted_;
  Ending ending_;
};

}  // namespace

Writer::Writer(LogOptions options, Folder folder, SigningKey key, Fd lock)
    : options_(std::move(options)),
      folder_(std::move(folder)),
      key_(std::move(key)),
      lock_(std::move(lock)) {}

Result<std::unique_ptr<Writer>> Writer::open(LogOptions options) {
  if (::mkdir(options.directory.c_str(), 0700) < 0 && errno != EEXIST) {
    return Error::from_errno(errno, "make " + options.directory);
  }
  HAKO_TRY(auto folder, Folder::open(options.directory));
  HAKO_TRY(auto lock, lock_folder(folder));
  HAKO_TRY(auto segments, list_segments(folder));
  if (!segments.empty() && !SigningKey::exists(options.key_file)) {
    return does_not_chain(options.directory, "its signing key " + options.key_file + " is gone");
  }
  HAKO_TRY(auto key, SigningKey::load_or_make(options.key_file));
  std::unique_ptr<Writer> writer(new Writer(std::move(options), std::move(folder), std::move(key),
                                            std::move(lock)));
  HAKO_TRYV(writer->start());
  return writer;
}

Result<void> Writer::start() {
  HAKO_TRY(auto segments, list_segments(folder_));
  if (segments.empty()) {
    if (folder_.has(kHeadName)) {
      return does_not_chain(options_.directory, "there is a head.json, but no segment");
    }
    HAKO_TRYV(begin_log());
  } else {
    HAKO_TRYV(go_on(std::move(segments)));
  }
  HAKO_TRYV(sync());
  return publish(head_);
}

Result<void> Writer::begin_log() {
  log_ = random_hex(kLogNameBytes);
  HAKO_TRYV(open_segment(next_.sequence, O_CREAT));
  return write_head("start");
}

/// Goes on behind the last record. Segments at the end that hold no whole record are what a crash
/// has left of a beginning one.
Result<void> Writer::go_on(std::vector<int64_t> segments) {
  const std::string& directory = options_.directory;
  std::string published;
  if (folder_.has(kHeadName)) {
    HAKO_TRY(published, folder_.read(kHeadName, kLongestHeadFile));
    if (!published.empty() && published.back() == '\n') published.pop_back();
  }
  auto named = parse_head(published);
  if (!published.empty() && (!named || !is_signed_by(published, key_.public_key()))) {
    return does_not_chain(directory, "head.json is not signed with its key");
  }
  int64_t torn = 0;
  Ending last;
  while (!segments.empty()) {
    EndingReader reader(folder_, segment_name(segments.back()), key_.public_key(),
                        named ? named->link.sequence : 0);
    auto read = reader.run();
    if (!read && read.error().code() != ErrorCode::corrupted) return read.error();
    if (!read) return does_not_chain(directory, read.error().message());
    last = std::move(read.value());
    torn += last.torn_bytes;
    if (last.lines > 0) break;
    HAKO_TRYV(folder_.remove(segment_name(segments.back())));
    segments.pop_back();
  }
  if (segments.empty()) {
    // Nothing was ever written.
    if (named) return does_not_chain(directory, "all records are gone");
    return begin_log();
  }
  first_ = segments.back();
  if (last.first.sequence != first_) {
    return does_not_chain(directory, segment_name(first_) + " begins with another record");
  }
  if (named && (named->link.sequence >= last.next.sequence || named->log != last.log ||
                (named->link.sequence >= first_ && last.published != published))) {
    return does_not_chain(directory, "head.json names a record that is not there: record " +
                                         std::to_string(named->link.sequence));
  }
  log_ = last.log;
  next_ = last.next;
  head_ = last.head;
  head_sequence_ = last.head_sequence;
  size_ = last.size + last.torn_bytes;
  HAKO_TRYV(open_segment(first_, 0));
  size_ = last.size;
  if (torn > 0) {
    uncut_ = true;
    HAKO_TRYV(cut_back());
    std::string body = recovered_body(torn);
    HAKO_TRYV(write({&body, 1}));
  }
  return write_head("start");
}

Result<void> Writer::open_segment(int64_t first, int flags) {
  HAKO_TRY(auto opened,
           folder_.open_file(segment_name(first), O_WRONLY | O_APPEND | flags, 0600));
  struct stat info {};
  if (::fstat(opened.get(), &info) < 0) return Error::from_errno(errno, "stat audit log");
  if (info.st_size != size_) {
    return does_not_chain(options_.directory, segment_name(first) + " is there already");
  }
  HAKO_TRYV(folder_.sync());
  file_ = std::make_shared<Fd>(std::move(opened));
  first_ = first;
  return ok();
}

Result<void> Writer::write(std::span<const std::string> bodies) {
  Link link = next_;
  std::string text;
  for (const std::string& body : bodies) {
    std::string line = make_line(link, body);
    link.previous = hash_line(line);
    ++link.sequence;
    text.append(line) += '\n';
  }
  HAKO_TRYV(append_text(text));
  next_ = std::move(link);
  return ok();
}

Result<void> Writer::write_head(std::string_view why) {
  Head head;
  head.link = next_;
  head.why = why;
  head.log = log_;
  head.key = to_hex(key_.public_key());
  std::string line = make_head(head, key_);
  HAKO_TRYV(append_text(line + "\n"));
  head_sequence_ = next_.sequence;
  next_ = Link{next_.sequence + 1, hash_line(line)};
  head_ = std::move(line);
  return ok();
}

Result<void> Writer::append_text(const std::string& text) {
  HAKO_TRYV(cut_back());
  struct stat info {};
  if (::fstat(file_->get(), &info) < 0) return Error::from_errno(errno, "stat audit log");
  if (info.st_size != size_ || info.st_nlink == 0) {
    return does_not_chain(options_.directory, "somebody else has changed " + segment_name(first_));
  }
  uncut_ = true;
  auto written = write_all(file_->get(), text);
  if (!written) {
    (void)cut_back();
    return std::move(written.error()).with_context("audit log");
  }
  uncut_ = false;
  size_ += int64_t(text.size());
  return ok();
}

Result<void> Writer::cut_back() {
  if (!uncut_) return ok();
  if (::ftruncate(file_->get(), size_) < 0) {
    return Error::from_errno(errno, "cut back " + segment_name(first_));
  }
  uncut_ = false;
  return ok();
}

Result<void> Writer::rotate_if_full() {
  if (size_ < options_.segment_bytes) return ok();
  // Tried again after a failure: the old segment need not be signed twice.
  if (head_sequence_ != last_sequence()) {
    HAKO_TRYV(write_head("rotation"));
  }
  HAKO_TRYV(sync());
  auto old_file = file_;
  int64_t old_first = first_;
  int64_t old_size = size_;
  size_ = 0;
  auto begun = open_segment(next_.sequence, O_CREAT);
  if (begun) begun = write_head("segment");
  if (!begun) {
    // An empty file that is left is taken the next time.
    if (first_ != old_first) (void)folder_.remove(segment_name(first_));
    file_ = std::move(old_file);
    first_ = old_first;
    size_ = old_size;
    uncut_ = false;
    return begun;
  }
  remove_old();
  return ok();
}

/// What cannot be removed now is removed at the next rotation.
void Writer::remove_old() {
  auto segments = list_segments(folder_);
  if (!segments) return;
  std::vector<int64_t>& all = segments.value();
  size_t removed = 0;
  auto is_old = [&](int64_t first) {
    if (options_.keep_segments > 0 && int64_t(all.size() - removed) > options_.keep_segments) {
      return true;
    }
    if (options_.keep_for.count() == 0) return false;
    auto info = folder_.look_at(segment_name(first));
    return info && from_unix_ms(int64_t(info.value().st_mtime) * 1000) + options_.keep_for <
                       WallClock::now();
  };
  while (removed + 1 < all.size() && is_old(all[removed])) ++removed;
  if (removed == 0) return;
  // Told before it is done: a copy that begins later than that is none that somebody has shortened.
  std::string body = retired_body(all[removed]);
  auto told = write({&body, 1});
  if (told) told = sync();
  for (size_t i = 0; told && i < removed; ++i) told = folder_.remove(segment_name(all[i]));
  if (!told) log_warn("audit segments not removed", {{"error", told.error().message()}});
}

Result<void> Writer::publish(const std::string& head) const {
  return folder_.write(kHeadName, head + "\n", 0600);
}

Result<void> Writer::sync() {
  if (::fdatasync(file_->get()) == 0) return ok();
  int error = errno;
  doubt(first_);
  return Error::from_errno(error, "sync audit log");
}

Result<void> Writer::renew_doubtful() {
  while (!doubtful_.empty()) {
    HAKO_TRYV(renew(*doubtful_.begin()));
    doubtful_.erase(doubtful_.begin());
  }
  return ok();
}

/// What must follow the last line of a segment: of the one that is written to, the record to come.
Result<Link> Writer::link_behind(int64_t first) const {
  if (first == first_) return next_;
  HAKO_TRY(auto segments, list_segments(folder_));
  auto behind = std::upper_bound(segments.begin(), segments.end(), first);
  std::optional<Link> link;
  if (behind != segments.end()) {
    HAKO_TRY(auto file, folder_.open_file(segment_name(*behind), O_RDONLY));
    LineReader reader(std::move(file));
    HAKO_TRY(auto line, reader.next());
    if (line) link = parse_link(line->text);
  }
  if (link) return *link;
  return does_not_chain(options_.directory, "nothing follows " + segment_name(first));
}

/// What it holds is read from the old file, which is to say from the kernel's memory. Whether that
/// is still all of it, the chain tells: it is looked at in the new file.
Result<void> Writer::renew(int64_t first) {
  std::string name = segment_name(first);
  // Removed as old meanwhile.
  if (!folder_.has(name)) return ok();
  bool is_current = first == first_;
  HAKO_TRYV(folder_.remove(kRenewedName));
  HAKO_TRY(auto from, folder_.open_file(name, O_RDONLY));
  HAKO_TRY(auto to, folder_.open_file(kRenewedName, O_WRONLY | O_APPEND | O_CREAT | O_EXCL, 0600));
  HAKO_TRYV(copy_bytes(from, to, is_current ? size_ : INT64_MAX));
  if (::fsync(to.get()) < 0) return Error::from_errno(errno, "sync a renewed segment");
  HAKO_TRY(Link due, link_behind(first));
  EndingReader reader(folder_, kRenewedName, key_.public_key(), 0);
  auto read = reader.run();
  if (!read && read.error().code() != ErrorCode::corrupted) return read.error();
  bool is_whole = read && read.value().torn_bytes == 0 && read.value().lines > 0 &&
                  read.value().first.sequence == first &&
                  read.value().next.sequence == due.sequence &&
                  read.value().next.previous == due.previous;
  if (!is_whole) {
    return does_not_chain(options_.directory,
                          "the disk has lost records of " + name + " that were written");
  }
  HAKO_TRYV(folder_.rename(kRenewedName, name));
  if (is_current) {
    file_ = std::make_shared<Fd>(std::move(to));
    uncut_ = false;
  }
  return folder_.sync();
}

Result<std::string> seal_off(const std::string& directory) {
  HAKO_TRY(auto folder, Folder::open(directory));
  HAKO_TRY(auto lock, lock_folder(folder));
  std::string target =
      folder.path() + ".sealed-" + std::to_string(std::time(nullptr)) + "-" + random_hex(2);
  if (::rename(folder.path().c_str(), target.c_str()) < 0) {
    return Error::from_errno(errno, "rename " + folder.path());
  }
  return target;
}

}  // namespace hako::audit
