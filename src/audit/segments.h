// The files of a log: which there are, and their lines. Blocking.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/folder.h"
#include "base/fd.h"

namespace hako::audit {

/// "audit-0000000000000001.jsonl": named after its first record.
std::string segment_name(int64_t first_sequence);
/// The first sequence; nothing for names of other files.
std::optional<int64_t> segment_sequence(std::string_view name);
/// The first sequences of the segments in `directory`, rising. Other files are not looked at.
Result<std::vector<int64_t>> list_segments(const Folder& folder);
Result<std::vector<int64_t>> list_segments(const std::string& directory);
inline std::string segment_path(const std::string& directory, int64_t first_sequence) {
  return directory + "/" + segment_name(first_sequence);
}
/// The latest signed head beside the segments, as the line it is.
inline constexpr const char* kHeadName = "head.json";
inline std::string head_path(const std::string& directory) {
  return directory + "/" + kHeadName;
}

/// How long a segment is up to the end of its last whole line, as of now: of what is being written
/// there may be a part already. Errors: those of files.
Result<int64_t> whole_size(const Fd& segment);

/// Reads a file line by line with one buffer, whatever the file holds.
class LineReader {
 public:
  struct Line {
    std::string_view text;  ///< without the newline; valid until the next call
    int64_t offset = 0;     ///< of its first byte
    bool whole = true;      ///< whether a newline ends it, and it is no longer than kLongestLine
  };

  /// From `offset` on. Of a line longer than kLongestLine only so much is kept.
  explicit LineReader(Fd file, int64_t offset = 0);
  /// Nothing at the end. Errors: those of read(2).
  Result<std::optional<Line>> next();

 private:
  Result<bool> fill();

  Fd file_;
  std::string buffer_;
  size_t begin_ = 0;  ///< of what has not been given out
  int64_t offset_;    ///< in the file, of the same
};

}  // namespace hako::audit
