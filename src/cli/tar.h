// Tar archives, piece by piece and without I/O: folders travel to and from boxes as these.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::cli {

struct TarEntry {
  enum class Kind { file, directory, symlink, hard_link, other };
  Kind kind = Kind::file;
  std::string name;      ///< as archived: a stranger chose it
  std::string link;      ///< target of a link
  uint32_t mode = 0644;  ///< permission bits, setuid and its like included
  uint64_t size = 0;     ///< bytes of data that follow
  int64_t mtime = 0;     ///< Unix seconds
};

/// What a TarReader tells as it goes. An error ends the reading and is passed on.
class TarSink {
 public:
  virtual ~TarSink() = default;
  virtual Result<void> entry(const TarEntry& entry) = 0;
  /// The next bytes of the entry; `entry.size` of them in all, none for size 0.
  virtual Result<void> data(std::string_view bytes) = 0;
  virtual Result<void> end_of_entry() = 0;
};

/// Reads ustar, with the GNU and pax records for long names and big files. Every field is taken as
/// hostile: checked, bounded, and passed on as data only. Buffers at most one record of 64 KiB.
class TarReader {
 public:
  explicit TarReader(TarSink& sink) : sink_(sink) {}

  /// Takes any number of bytes. Errors: corrupted, or what the sink returned; final.
  Result<void> feed(std::string_view bytes);
  /// At the end of input. corrupted if the archive is cut short.
  Result<void> finish() const;
  /// The two zero blocks that end an archive have been seen; what follows is ignored.
  bool ended() const { return ended_; }

 private:
  enum class Part { header, data, record, padding };
  Result<void> take_header();
  Result<void> take_record();
  Result<void> end_body();

  TarSink& sink_;
  Part part_ = Part::header;
  std::string block_;  // the header or extension record being gathered
  char record_type_ = 0;
  uint64_t body_left_ = 0;  // of data or record
  uint64_t padding_left_ = 0;
  int zero_blocks_ = 0;
  bool ended_ = false;
  // Told by extension records, for the next entry only.
  std::string next_name_, next_link_;
  bool has_next_size_ = false;
  uint64_t next_size_ = 0;
};

/// The header of `entry`, in ustar form, preceded by a pax record where ustar cannot say it.
/// The data follows, then tar_padding().
std::string tar_header(const TarEntry& entry);
/// Zeros that fill up the last block of an entry of `size` bytes.
std::string tar_padding(uint64_t size);
/// What ends an archive.
std::string tar_trailer();

}  // namespace hako::cli
