#include "mcp/text.h"

#include <algorithm>

#include "base/encoding.h"

namespace hako::mcp {
namespace {

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

constexpr size_t kLongestCharacter = 4;
constexpr size_t kLongestLine = 160;

}  // namespace

size_t whole_characters(std::string_view text, size_t most) {
  if (text.size() <= most) return text.size();
  size_t cut = most;
  // What is no UTF-8 anyway is cut where it is.
  for (size_t back = 0; back < kLongestCharacter && cut > 0; ++back, --cut)
    if (!continues_character(text[cut])) return cut;
  return most;
}

size_t whole_size(std::string_view text) {
  for (size_t back = 1; back <= kLongestCharacter && back <= text.size(); ++back) {
    char c = text[text.size() - back];
    if (continues_character(c)) continue;
    unsigned char lead = static_cast<unsigned char>(c);
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

std::string_view ending(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  std::string_view end = text.substr(text.size() - most);
  for (size_t skip = 0; skip < kLongestCharacter && skip < end.size(); ++skip)
    if (!continues_character(end[skip])) return end.substr(skip);
  return end;
}

void Shown::add(std::string_view bytes) {
  total_ += bytes.size();
  size_t room = most_ - std::min(first_.size(), most_);
  first_.append(bytes.substr(0, room));
  if (bytes.size() <= room) return;
  last_.append(bytes.substr(room));
  // Moved now and then only, so that a byte is not moved each time.
  if (last_.size() > 2 * most_) last_.erase(0, last_.size() - most_);
}

size_t Shown::beginning_size() const {
  return is_cut() ? whole_characters(first_, most_ / 2) : first_.size();
}

std::string Shown::beginning() const {
  return valid_utf8(first_.substr(0, beginning_size()));
}

std::string Shown::end() const {
  if (!is_cut()) return {};
  std::string rest = first_.substr(beginning_size()) + last_;
  return valid_utf8(std::string(ending(rest, most_ / 2)));
}

uint64_t Shown::next_offset() const {
  return beginning_size();
}

std::string Shown::last_line() const {
  std::string_view all = last_.empty() ? std::string_view(first_) : std::string_view(last_);
  while (!all.empty() && (all.back() == '\n' || all.back() == '\r' || all.back() == ' '))
    all.remove_suffix(1);
  size_t begin = all.rfind('\n');
  std::string line(all.substr(begin == all.npos ? 0 : begin + 1));
  line = valid_utf8(std::string(ending(line, kLongestLine)));
  for (char& c : line)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  return line;
}

}  // namespace hako::mcp
