#include "audit/segments.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "audit/line.h"

namespace hako::audit {
namespace {

constexpr std::string_view kNameBegins = "audit-";
constexpr std::string_view kNameEnds = ".jsonl";
constexpr size_t kNameDigits = 16;
constexpr size_t kReadBytes = 64 << 10;

}  // namespace

std::string segment_name(int64_t first_sequence) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%016lld", static_cast<long long>(first_sequence));
  return std::string(kNameBegins).append(digits).append(kNameEnds);
}

std::optional<int64_t> segment_sequence(std::string_view name) {
  if (name.size() != kNameBegins.size() + kNameDigits + kNameEnds.size()) return std::nullopt;
  if (name.substr(0, kNameBegins.size()) != kNameBegins) return std::nullopt;
  if (name.substr(kNameBegins.size() + kNameDigits) != kNameEnds) return std::nullopt;
  int64_t value = 0;
  const char* digits = name.data() + kNameBegins.size();
  auto [end, problem] = std::from_chars(digits, digits + kNameDigits, value);
  if (problem != std::errc() || end != digits + kNameDigits || value < 1) return std::nullopt;
  return value;
}

Result<std::vector<int64_t>> list_segments(const Folder& folder) {
  HAKO_TRY(auto names, folder.names());
  std::vector<int64_t> found;
  for (const std::string& name : names) {
    if (auto sequence = segment_sequence(name)) found.push_back(*sequence);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<std::vector<int64_t>> list_segments(const std::string& directory) {
  HAKO_TRY(auto folder, Folder::open(directory));
  return list_segments(folder);
}

Result<int64_t> whole_size(const Fd& segment) {
  struct stat info {};
  if (::fstat(segment.get(), &info) < 0) return Error::from_errno(errno, "stat segment");
  int64_t end = info.st_size;
  std::string tail;
  while (end > 0) {
    int64_t size = std::min<int64_t>(end, int64_t(kReadBytes));
    tail.resize(size_t(size));
    ssize_t count = ::pread(segment.get(), tail.data(), tail.size(), end - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error::from_errno(errno, "read segment");
    size_t newline = tail.rfind('\n', size_t(count));
    if (newline != std::string::npos && newline < size_t(count)) {
      return end - size + int64_t(newline) + 1;
    }
    end -= size;
  }
  return end;
}

LineReader::LineReader(Fd file, int64_t offset) : file_(std::move(file)), offset_(offset) {}

/// Reads more behind what is there. False at the end of the file.
Result<bool> LineReader::fill() {
  buffer_.erase(0, begin_);
  begin_ = 0;
  size_t held = buffer_.size();
  buffer_.resize(held + kReadBytes);
  ssize_t count;
  do {
    count = ::pread(file_.get(), buffer_.data() + held, kReadBytes, offset_ + int64_t(held));
  } while (count < 0 && errno == EINTR);
  int error = errno;
  buffer_.resize(held + size_t(std::max<ssize_t>(count, 0)));
  if (count < 0) return Error::from_errno(error, "read segment");
  return count > 0;
}

Result<std::optional<LineReader::Line>> LineReader::next() {
  size_t looked = begin_;
  size_t newline;
  while ((newline = buffer_.find('\n', looked)) == std::string::npos) {
    // A longer line is given out in pieces, none of which is a whole one.
    if (buffer_.size() - begin_ > kLongestLine) break;
    looked = buffer_.size() - begin_;
    HAKO_TRY(bool more, fill());
    if (!more) break;
  }
  std::optional<Line> line;
  if (begin_ == buffer_.size()) return line;
  line.emplace();
  line->whole = newline != std::string::npos && newline - begin_ <= kLongestLine;
  size_t end = newline != std::string::npos ? newline : buffer_.size();
  line->text = std::string_view(buffer_).substr(begin_, std::min(end - begin_, kLongestLine));
  line->offset = offset_;
  size_t taken = std::min(end + 1, buffer_.size()) - begin_;
  begin_ += taken;
  offset_ += int64_t(taken);
  return line;
}

}  // namespace hako::audit
