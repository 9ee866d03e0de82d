#include "wire/event_stream.h"

namespace hako::wire {
namespace {

constexpr std::string_view kMark = "\xef\xbb\xbf";
constexpr std::string_view kData = "data";
constexpr size_t kLongestField = 16;  ///< longer names than any that there is

}  // namespace

void EventStream::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    char c = bytes.front();
    if (after_return_) {
      after_return_ = false;
      if (c == '\n') {  // the second half of a line end
        bytes.remove_prefix(1);
        continue;
      }
    }
    size_t stop = bytes.find_first_of(where_ == Where::name ? ":\r\n" : "\r\n");
    std::string_view part = bytes.substr(0, stop);
    if (where_ == Where::name) {
      if (name_.size() < kLongestField) name_.append(part.substr(0, kLongestField));
      if (first_line_ && name_.starts_with(kMark)) {
        name_.erase(0, kMark.size());
        first_line_ = false;
      }
    } else {
      take_data(part);
    }
    bytes.remove_prefix(part.size());
    if (stop == bytes.npos) return;

    char mark = bytes.front();
    bytes.remove_prefix(1);
    if (mark == ':') {
      where_ = name_ == kData ? Where::first_value : Where::other;
      first_line_ = false;
      if (where_ == Where::first_value) begin_data();
    } else {
      after_return_ = mark == '\r';
      end_line();
    }
  }
}

void EventStream::take_data(std::string_view piece) {
  if (piece.empty() || where_ == Where::other) return;
  if (where_ == Where::first_value) {
    where_ = Where::data;
    if (piece.front() == ' ') piece.remove_prefix(1);
  }
  if (!piece.empty()) data_(piece);
}

void EventStream::begin_data() {
  if (has_data_) data_("\n");
  has_data_ = true;
}

void EventStream::end_line() {
  if (where_ == Where::name) {
    if (name_.empty()) {
      dispatch();
    } else if (name_ == kData) {
      begin_data();  // a line that is the name alone has an empty value
    }
  }
  name_.clear();
  where_ = Where::name;
  first_line_ = false;
}

void EventStream::dispatch() {
  if (has_data_) end_();
  has_data_ = false;
}

void EventStream::finish() {
  if (where_ != Where::name || !name_.empty()) end_line();
  dispatch();
}

}  // namespace hako::wire
