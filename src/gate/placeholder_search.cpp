#include "gate/placeholder_search.h"

#include <zlib.h>

#include <algorithm>

#include "wire/ascii.h"

namespace hako::gate {
namespace {

/// Enough to tell placeholders apart, whose end is random.
constexpr size_t kMostCompared = 96;
constexpr size_t kInflatedAtOnce = 32 << 10;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The number in hexadecimal digits, or -1.
int hex_number(std::string_view digits) {
  int number = 0;
  for (char c : digits) {
    int digit = hex_digit(c);
    if (digit < 0) return -1;
    number = number * 16 + digit;
  }
  return number;
}

/// Of an escape that begins with these characters: its length once it is whole.
size_t escape_size(std::string_view begun) {
  if (begun[0] == '%') return 3;
  if (begun.size() < 2) return 2;
  return begun[1] == 'u' ? 6 : begun[1] == 'x' ? 4 : 2;
}

}  // namespace

Result<PlaceholderSet> PlaceholderSet::make(std::vector<Placeholder> placeholders) {
  if (placeholders.size() > kMost)
    return Error(ErrorCode::invalid_argument, "too many placeholders");
  PlaceholderSet set;
  std::vector<std::string> patterns;
  size_t bytes = 0;
  for (size_t i = 0; i < placeholders.size(); ++i) {
    std::string_view text = placeholders[i].text;
    if (text.size() < kShortest)
      return Error(ErrorCode::invalid_argument, "a placeholder is too short");
    // Its last bytes: what comes before them may be the same in all.
    text = text.substr(text.size() - std::min(text.size(), kMostCompared));
    auto forms = base64_forms(text);
    forms.emplace_back(text);
    for (auto& form : forms) {
      bytes += form.size();
      patterns.push_back(std::move(form));
      set.owners_.push_back(i);
    }
  }
  if (bytes > PatternSet::kMostBytes)
    return Error(ErrorCode::invalid_argument, "too many placeholders");
  set.placeholders_ = std::move(placeholders);
  set.patterns_ = PatternSet(patterns);
  return set;
}

const std::string* PlaceholderSet::find_in(std::string_view text) const {
  PlaceholderSearch search(*this);
  return search.feed(text);
}

const std::string* PlaceholderSearch::feed_plain(std::string_view piece,
                                                 PatternSet::Position& position) const {
  auto found = set_.patterns_.next(position, piece);
  return found ? set_.secret_of(found->text) : nullptr;
}

const std::string* PlaceholderSearch::feed(std::string_view piece) {
  PatternSet::Position before = plain_;
  if (auto found = feed_plain(piece, plain_)) return found;
  if (!escapes_) {
    size_t first = piece.find_first_of("%\\");
    if (first == piece.npos) return nullptr;
    escapes_ = true;
    unescaped_ = before;
    (void)feed_plain(piece.substr(0, first), unescaped_);
    piece.remove_prefix(first);
  }
  text_.clear();
  for (char c : piece) unescape(c);
  return feed_plain(text_, unescaped_);
}

void PlaceholderSearch::unescape(char c) {
  if (escape_.empty() && c != '%' && c != '\\') {
    text_ += c;
    return;
  }
  escape_ += c;
  if (escape_.size() == 1 || escape_.size() < escape_size(escape_)) return;
  std::string whole = std::exchange(escape_, {});
  bool short_one = whole[0] == '\\' && whole.size() == 2;
  int code = short_one ? whole[1] : hex_number(whole.substr(whole[0] == '%' ? 1 : 2));
  // What others stand for does not matter: no placeholder has such characters.
  text_ += code >= 0 && code < 128 ? static_cast<char>(code) : '\0';
  // A broken escape may hold the beginning of another.
  if (code < 0)
    for (char again : std::string_view(whole).substr(1)) unescape(again);
}

struct BodySearch::Inflater {
  Inflater() {
    // With 32 more it takes what begins as gzip does, and as zlib does.
    if (::inflateInit2(&state, MAX_WBITS + 32) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { ::inflateEnd(&state); }

  z_stream state{};
  size_t inflated = 0;
  bool ended = false;
  std::string room = std::string(kInflatedAtOnce, '\0');
};

bool BodySearch::can_read(std::string_view encoding) {
  return encoding.empty() || std::ranges::any_of(
                                 std::initializer_list<std::string_view>{"identity", "gzip",
                                                                         "x-gzip", "deflate"},
                                 [&](auto known) { return wire::equal_ignoring_case(encoding, known); });
}

BodySearch::BodySearch(const PlaceholderSet& set, std::string_view encoding) : search_(set) {
  if (!encoding.empty() && !wire::equal_ignoring_case(encoding, "identity"))
    inflater_ = std::make_unique<Inflater>();
}

BodySearch::~BodySearch() = default;

std::string BodySearch::search(std::string_view piece) {
  const std::string* found = search_.feed(piece);
  if (!found) return {};
  secret_ = *found;
  return "in the body";
}

std::string BodySearch::refusal_of(std::string_view piece) {
  if (!inflater_) return search(piece);
  z_stream& state = inflater_->state;
  if (piece.empty()) return inflater_->ended ? "" : "a compressed body that is not whole";
  if (inflater_->ended) return "something behind a compressed body";
  // SAFETY: zlib does not write there.
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
  state.avail_in = static_cast<uInt>(piece.size());
  while (!inflater_->ended) {
    state.next_out = reinterpret_cast<Bytef*>(inflater_->room.data());
    state.avail_out = static_cast<uInt>(inflater_->room.size());
    int outcome = ::inflate(&state, Z_NO_FLUSH);
    size_t count = inflater_->room.size() - state.avail_out;
    inflater_->inflated += count;
    if (inflater_->inflated > kMostInflated) return "a compressed body that becomes too long";
    auto refusal = search(std::string_view(inflater_->room).substr(0, count));
    if (!refusal.empty()) return refusal;
    if (outcome == Z_STREAM_END) inflater_->ended = true;
    if (outcome == Z_BUF_ERROR || (outcome == Z_OK && state.avail_in == 0 && state.avail_out > 0))
      break;
    if (outcome != Z_OK && outcome != Z_STREAM_END) return "a compressed body that is malformed";
  }
  return state.avail_in > 0 ? "something behind a compressed body" : "";
}

}  // namespace hako::gate
