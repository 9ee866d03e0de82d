#include "mcp/lines.h"

namespace hako::mcp {

void LineReader::feed(std::string_view bytes) {
  if (position_ > 0) {
    buffer_.erase(0, position_);
    looked_ -= position_;
    position_ = 0;
  }
  buffer_.append(bytes);
}

std::optional<LineReader::Line> LineReader::next() {
  for (;;) {
    size_t end = buffer_.find('\n', looked_);
    if (end == buffer_.npos) {
      looked_ = buffer_.size();
      if (looked_ - position_ <= most_ && !skipping_) return std::nullopt;
      // Too long: its rest is not kept, only looked through.
      skipping_ = true;
      buffer_.clear();
      position_ = looked_ = 0;
      return std::nullopt;
    }
    std::string_view text = std::string_view(buffer_).substr(position_, end - position_);
    Line line;
    line.too_long = skipping_ || text.size() > most_;
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (!line.too_long) line.text = text;
    bool empty = text.find_first_not_of(" \t") == text.npos && !line.too_long;
    position_ = looked_ = end + 1;
    skipping_ = false;
    if (!empty) return line;
  }
}

}  // namespace hako::mcp
