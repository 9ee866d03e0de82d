#include "audit/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <climits>

#include "audit/line.h"
#include "audit/segments.h"
#include "audit/text.h"
#include "base/clock.h"

namespace hako::audit {
namespace {

constexpr int64_t kBackwardBytes = 128 << 10;
/// How much later than it happened a record may be written, for looking only into some segments.
constexpr int64_t kLatestMs = 3600'000;

/// Reads the lines of a file that end before `end`, the last one first.
class BackwardReader {
 public:
  BackwardReader(const Fd& file, int64_t end) : file_(file), begin_(end) {}

  /// Nothing at the beginning of the file. Text is valid until the next call.
  Result<std::optional<std::string_view>> next() {
    std::optional<std::string_view> line;
    for (;;) {
      // All that is held ends with a line.
      size_t newline = held_.empty()
                           ? std::string::npos
                           : std::string_view(held_).substr(0, held_.size() - 1).rfind('\n');
      if (newline != std::string::npos || (begin_ == 0 && !held_.empty())) {
        size_t start = newline == std::string::npos ? 0 : newline + 1;
        line_ = held_.substr(start, held_.size() - 1 - start);
        held_.resize(start);
        line = line_;
        return line;
      }
      if (begin_ == 0) return line;
      HAKO_TRYV(fill());
    }
  }
  int64_t read() const { return read_; }

 private:
  Result<void> fill() {
    int64_t size = std::min(begin_, kBackwardBytes);
    std::string piece(size_t(size), '\0');
    int64_t got = 0;
    while (got < size) {
      ssize_t count =
          ::pread(file_.get(), piece.data() + got, size_t(size - got), begin_ - size + got);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Error::from_errno(errno, "read segment");
      if (count == 0) return Error(ErrorCode::corrupted, "a segment has become shorter");
      got += count;
    }
    begin_ -= size;
    read_ += size;
    held_.insert(0, piece);
    return ok();
  }

  const Fd& file_;
  int64_t begin_;  ///< of what is held, in the file
  int64_t read_ = 0;
  std::string held_, line_;
};

struct Segment {
  Fd file;
  int64_t size = 0;
};

Result<Segment> open_for_reading(const Folder& folder, int64_t first) {
  Segment segment;
  HAKO_TRY(segment.file, folder.open_file(segment_name(first), O_RDONLY));
  struct stat info {};
  if (::fstat(segment.file.get(), &info) < 0) return Error::from_errno(errno, "stat segment");
  segment.size = info.st_size;
  return segment;
}

/// The first whole line that begins at `offset` or behind it: where, and its sequence. Nothing if
/// there is none.
struct Spot {
  int64_t offset = 0;
  int64_t sequence = 0;
};

Result<std::optional<Spot>> line_behind(const Segment& segment, int64_t offset) {
  HAKO_TRY(auto file, segment.file.duplicate());
  // What stands before may be the rest of a line that began earlier.
  LineReader reader(std::move(file), std::max<int64_t>(offset - 1, 0));
  std::optional<Spot> found;
  if (offset > 0) {
    HAKO_TRY(auto rest, reader.next());
    if (!rest || !rest->whole) return found;
  }
  for (;;) {
    HAKO_TRY(auto line, reader.next());
    if (!line || !line->whole) return found;
    // What is no record is none of ours to judge: the verifier does that.
    auto link = parse_link(line->text);
    if (!link) continue;
    found = Spot{line->offset, link->sequence};
    return found;
  }
}

/// Where the first line with at least this sequence begins, or the end of the file.
Result<int64_t> offset_of(const Segment& segment, int64_t sequence) {
  int64_t low = 0;
  int64_t high = segment.size;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    HAKO_TRY(auto line, line_behind(segment, middle));
    if (!line || line->sequence >= sequence) {
      high = middle;
    } else {
      low = line->offset + 1;
    }
  }
  HAKO_TRY(auto line, line_behind(segment, low));
  return line ? line->offset : segment.size;
}

/// `,"name":"value"` as it stands in a line.
std::string member_text(std::string_view name, std::string_view value) {
  std::string text = ",\"" + std::string(name) + "\":";
  append_quoted(text, value, Record::kLongestText);
  return text;
}

std::string_view text_of(const Found& record, std::string_view name) {
  auto* value = record.if_contains(name);
  auto* text = value ? value->if_string() : nullptr;
  return text ? std::string_view(text->data(), text->size()) : std::string_view();
}

class Search {
 public:
  Search(const Folder& folder, const Query& query) : folder_(folder), query_(query) {
    auto add = [&](std::string_view name, const std::string& value) {
      if (!value.empty()) must_hold_.push_back(member_text(name, value));
    };
    add("tenant", query.tenant);
    add("sandbox", query.sandbox);
    add("actor", query.actor);
    if (!query.text.empty()) {
      std::string quoted;
      append_quoted(quoted, query.text, Record::kLongestText);
      text_ = quoted.substr(1, quoted.size() - 2);
    }
  }

  Result<Page> run() {
    HAKO_TRY(segments_, list_segments(folder_));
    page_.next = query_.from;
    HAKO_TRYV(query_.backward ? backward() : forward());
    return std::move(page_);
  }

 private:
  bool full() const { return page_.records.size() >= query_.limit || read_ >= kMostRead; }

  // A segment may go, because it is old, while it is looked for: then there is nothing in it.

  Result<void> forward() {
    for (size_t i = 0; i < segments_.size(); ++i) {
      bool is_last = i + 1 == segments_.size();
      if (!is_last && segments_[i + 1] <= query_.from + 1) continue;
      if (!is_last && begun_ms(segments_[i + 1]) < query_.since_ms) continue;
      if (begun_after_until(segments_[i])) break;
      auto segment = open_for_reading(folder_, segments_[i]);
      if (!segment && segment.error().code() == ErrorCode::not_found) continue;
      if (!segment) return segment.error();
      HAKO_TRY(int64_t offset, offset_of(segment.value(), query_.from + 1));
      LineReader reader(std::move(segment.value().file), offset);
      for (;;) {
        HAKO_TRY(auto line, reader.next());
        if (!line || !line->whole) break;
        if (full()) {
          page_.more = true;
          return ok();
        }
        read_ += int64_t(line->text.size());
        take(line->text);
      }
    }
    return ok();
  }

  Result<void> backward() {
    for (size_t i = segments_.size(); i-- > 0;) {
      if (query_.from > 0 && segments_[i] >= query_.from) continue;
      if (begun_after_until(segments_[i])) continue;
      bool is_last = i + 1 == segments_.size();
      if (!is_last && begun_ms(segments_[i + 1]) < query_.since_ms) break;
      auto segment = open_for_reading(folder_, segments_[i]);
      if (!segment && segment.error().code() == ErrorCode::not_found) break;
      if (!segment) return segment.error();
      HAKO_TRY(int64_t end, end_of(segment.value()));
      BackwardReader reader(segment.value().file, end);
      for (;;) {
        HAKO_TRY(auto line, reader.next());
        if (!line) break;
        if (full()) {
          page_.more = true;
          return ok();
        }
        read_ += int64_t(line->size());
        take(*line);
      }
    }
    return ok();
  }

  /// Behind the last line that is to be read backwards; a torn end is left out.
  Result<int64_t> end_of(const Segment& segment) {
    HAKO_TRY(int64_t end, offset_of(segment, query_.from > 0 ? query_.from : INT64_MAX));
    if (end < segment.size) return end;
    return whole_size(segment.file);
  }

  /// When a segment was begun, by its first line; as late as can be if that is not known or matters
  /// to nobody.
  int64_t begun_ms(int64_t first) {
    if (query_.since_ms == 0 && query_.until_ms == INT64_MAX) return INT64_MAX;
    auto file = folder_.open_file(segment_name(first), O_RDONLY);
    if (!file) return INT64_MAX;
    LineReader reader(std::move(file.value()));
    auto line = reader.next();
    if (!line || !line.value()) return INT64_MAX;
    boost::system::error_code error;
    auto value = boost::json::parse(line.value()->text, error);
    if (error || !value.is_object()) return INT64_MAX;
    auto time = from_rfc3339(text_of(value.get_object(), "time"));
    return time ? to_unix_ms(*time) : INT64_MAX;
  }

  bool begun_after_until(int64_t first) {
    if (query_.until_ms >= INT64_MAX - kLatestMs) return false;
    int64_t begun = begun_ms(first);
    return begun != INT64_MAX && begun > query_.until_ms + kLatestMs;
  }

  void take(std::string_view line) {
    auto link = parse_link(line);
    if (!link) return;
    page_.next = link->sequence;
    auto holds = [&](const std::string& text) { return line.find(text) != std::string_view::npos; };
    if (!std::all_of(must_hold_.begin(), must_hold_.end(), holds) || !holds(text_)) return;
    boost::system::error_code error;
    auto value = boost::json::parse(line, error);
    if (error || !value.is_object()) return;
    Found& record = value.get_object();
    record["hash"] = hash_line(line);
    if (auto kind = text_of(record, "audit"); !kind.empty()) {
      record["action"] = "audit." + std::string(kind);
      record["outcome"] = "ok";
    }
    if (fits(record)) page_.records.push_back(std::move(record));
  }

  bool fits(const Found& record) const {
    auto is = [&](std::string_view name, const std::string& wanted) {
      return wanted.empty() || text_of(record, name) == wanted;
    };
    std::string_view action = text_of(record, "action");
    if (!is("tenant", query_.tenant) || !is("sandbox", query_.sandbox) ||
        !is("actor", query_.actor) || !is("outcome", query_.outcome)) {
      return false;
    }
    if (action.substr(0, query_.action.size()) != query_.action) return false;
    if (!query_.without_action.empty() && action == query_.without_action) return false;
    auto time = from_rfc3339(text_of(record, "time"));
    int64_t happened = time ? to_unix_ms(*time) : 0;
    if (happened < query_.since_ms || happened >= query_.until_ms) return false;
    return !query_.admits || query_.admits(record);
  }

  const Folder& folder_;
  const Query& query_;
  std::vector<std::string> must_hold_;
  std::string text_;
  std::vector<int64_t> segments_;
  int64_t read_ = 0;
  Page page_;
};

}  // namespace

Result<Page> read_page(const std::string& directory, const Query& query) {
  HAKO_TRY(auto folder, Folder::open(directory));
  return Search(folder, query).run();
}

}  // namespace hako::audit
