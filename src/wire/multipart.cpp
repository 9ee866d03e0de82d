#include "wire/multipart.h"

#include <algorithm>

#include "wire/ascii.h"

namespace hako::wire {
namespace {

constexpr size_t kLongestHeaders = 16 << 10;
constexpr size_t kLongestBoundary = 200;
constexpr size_t kLongestPreamble = 64 << 10;

Error malformed(std::string_view what) {
  return Error(ErrorCode::invalid_argument, "malformed multipart body: " + std::string(what));
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Parameter `wanted` of a header value such as `form-data; name="a"; filename="b"`.
/// In quotes, a backslash stands before a quote or a backslash only: file names have others.
std::optional<std::string> parameter(std::string_view value, std::string_view wanted) {
  size_t at = std::min(value.find(';'), value.size());
  while (at < value.size()) {
    value.remove_prefix(at + 1);
    size_t equals = value.find_first_of("=;");
    if (equals == std::string_view::npos) return std::nullopt;
    if (value[equals] == ';') {
      at = equals;
      continue;
    }
    std::string_view name = trim(value.substr(0, equals));
    std::string text;
    size_t i = equals + 1;
    while (i < value.size() && value[i] == ' ') ++i;
    if (i < value.size() && value[i] == '"') {
      for (++i; i < value.size() && value[i] != '"'; ++i) {
        bool escape = value[i] == '\\' && i + 1 < value.size() &&
                      (value[i + 1] == '"' || value[i + 1] == '\\');
        if (escape) ++i;
        text += value[i];
      }
      if (i >= value.size()) return std::nullopt;
      at = std::min(value.find(';', i), value.size());
    } else {
      at = std::min(value.find(';', i), value.size());
      text = trim(value.substr(i, at - i));
    }
    if (equal_ignoring_case(name, wanted)) return text;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> multipart_boundary(std::string_view content_type) {
  if (!equal_ignoring_case(trim(content_type.substr(0, content_type.find(';'))),
                           "multipart/form-data"))
    return std::nullopt;
  auto boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kLongestBoundary) return std::nullopt;
  return boundary;
}

MultipartDecoder::MultipartDecoder(std::string_view boundary) : delimiter_("\r\n--") {
  delimiter_ += boundary;
  // The first boundary may stand at the very start, where no line ends before it.
  buffer_ = "\r\n";
}

void MultipartDecoder::feed(std::string_view bytes) {
  buffer_.erase(0, position_);
  position_ = 0;
  if (state_ != State::finished) buffer_.append(bytes);
}

void MultipartDecoder::drop(size_t count) {
  position_ += count;
}

Result<MultipartDecoder::Event> MultipartDecoder::next() {
  for (;;) {
    std::string_view rest = std::string_view(buffer_).substr(position_);
    switch (state_) {
      case State::preamble: {
        size_t at = rest.find(delimiter_);
        if (at == std::string_view::npos) {
          if (rest.size() > kLongestPreamble) return malformed("no boundary");
          return Event{};
        }
        drop(at + delimiter_.size());
        state_ = State::boundary;
        break;
      }
      case State::boundary: {
        // Behind a boundary: "--" at the end, else blanks and the end of the line.
        size_t blanks = 0;
        while (blanks < rest.size() && (rest[blanks] == ' ' || rest[blanks] == '\t')) ++blanks;
        if (blanks > kLongestBoundary) return malformed("boundary");
        if (rest.size() < blanks + 2) return Event{};
        if (rest.starts_with("--")) {
          state_ = State::finished;
          buffer_.clear();
          position_ = 0;
          return Event{Kind::end, {}, {}, {}};
        }
        if (rest.substr(blanks, 2) != "\r\n") return malformed("boundary");
        // The line's end stays: a part without headers begins with two of them.
        drop(blanks);
        state_ = State::headers;
        break;
      }
      case State::headers:
        return read_headers();
      case State::content:
        return read_content();
      case State::finished:
        return Event{Kind::end, {}, {}, {}};
    }
  }
}

Result<MultipartDecoder::Event> MultipartDecoder::read_headers() {
  std::string_view rest = std::string_view(buffer_).substr(position_);
  size_t end = rest.find("\r\n\r\n");
  if (std::min(end, rest.size()) > kLongestHeaders) return malformed("headers too long");
  if (end == std::string_view::npos) return Event{};
  Event event{Kind::part_begin, {}, {}, {}};
  std::string_view lines = rest.substr(0, end);
  bool described = false;
  while (!lines.empty()) {
    lines.remove_prefix(2);  // each line begins behind an end of line
    size_t line_end = std::min(lines.find("\r\n"), lines.size());
    std::string_view line = lines.substr(0, line_end);
    lines.remove_prefix(line_end);
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return malformed("header");
    if (!equal_ignoring_case(trim(line.substr(0, colon)), "content-disposition")) continue;
    std::string_view value = line.substr(colon + 1);
    described = true;
    event.name = parameter(value, "name").value_or("");
    event.filename = parameter(value, "filename");
  }
  if (!described) return malformed("a part without Content-Disposition");
  drop(end + 4);
  state_ = State::content;
  return event;
}

MultipartDecoder::Event MultipartDecoder::read_content() {
  std::string_view rest = std::string_view(buffer_).substr(position_);
  size_t at = rest.find(delimiter_);
  if (at == 0) {
    drop(delimiter_.size());
    state_ = State::boundary;
    return Event{Kind::part_end, {}, {}, {}};
  }
  size_t sure = at;
  if (at == std::string_view::npos) {
    // The last bytes may be the beginning of a boundary.
    sure = rest.size() > delimiter_.size() ? rest.size() - delimiter_.size() : 0;
  }
  if (sure == 0) return Event{};
  drop(sure);
  return Event{Kind::data, {}, {}, rest.substr(0, sure)};
}

}  // namespace hako::wire
