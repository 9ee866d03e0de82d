#include "gate/pattern_set.h"

#include <algorithm>

#include "base/encoding.h"

namespace hako::gate {

namespace {

/// Texts shorter than this are not worth a table.
constexpr size_t kShortestWindow = 4;
constexpr size_t kLongestWindow = 64;
constexpr size_t kPairs = 1 << 12;

}  // namespace

PatternSet::PatternSet(const std::vector<std::string>& texts) {
  for (const auto& text : texts)
    for (unsigned char byte : text)
      if (class_of_[byte] == 0 && classes_ < 256) class_of_[byte] = static_cast<uint8_t>(classes_++);
  states_.emplace_back();
  steps_.assign(classes_, kNone);
  for (size_t i = 0; i < texts.size(); ++i) {
    begins_[static_cast<unsigned char>(texts[i][0])] = true;
    uint32_t state = 0;
    for (unsigned char byte : texts[i]) {
      uint32_t next = step(state, class_of_[byte]);
      if (next == kNone) {
        next = static_cast<uint32_t>(states_.size());
        states_.push_back({states_[state].depth + 1, kNone});
        steps_.resize(steps_.size() + classes_, kNone);
        step(state, class_of_[byte]) = next;
      }
      state = next;
    }
    if (state != 0 && states_[state].text == kNone) states_[state].text = static_cast<uint32_t>(i);
  }
  find_shifts(texts);
  // Breadth first: where the longest end of what was read that begins another text leads is known
  // before it is needed.
  std::vector<uint32_t> fallback(states_.size(), 0), queue{0};
  for (size_t at = 0; at < queue.size(); ++at) {
    uint32_t state = queue[at];
    for (size_t of = 0; of < classes_; ++of) {
      uint32_t& next = step(state, static_cast<uint8_t>(of));
      uint32_t other = state == 0 ? 0 : step(fallback[state], static_cast<uint8_t>(of));
      if (next == kNone) {
        next = other;
        continue;
      }
      fallback[next] = other;
      if (states_[next].text == kNone) states_[next].text = states_[other].text;
      queue.push_back(next);
    }
  }
}

size_t PatternSet::pair_of(const char* bytes) {
  auto first = static_cast<unsigned char>(bytes[0]), second = static_cast<unsigned char>(bytes[1]);
  return (first << 4 ^ second) % kPairs;
}

void PatternSet::find_shifts(const std::vector<std::string>& texts) {
  size_t shortest = kLongestWindow;
  for (const auto& text : texts) shortest = std::min(shortest, text.size());
  if (texts.empty() || shortest < kShortestWindow) return;
  window_ = shortest;
  shifts_.assign(kPairs, static_cast<uint8_t>(window_ - 1));
  for (const auto& text : texts) {
    for (size_t end = 2; end <= window_; ++end) {
      uint8_t& shift = shifts_[pair_of(text.data() + end - 2)];
      shift = std::min(shift, static_cast<uint8_t>(window_ - end));
    }
  }
}

size_t PatternSet::skip(std::string_view bytes, size_t i) const {
  while (i < bytes.size()) {
    size_t shift = 0;
    if (window_ > 0 && i + window_ <= bytes.size())
      shift = shifts_[pair_of(bytes.data() + i + window_ - 2)];
    if (shift == 0 && begins_[static_cast<unsigned char>(bytes[i])]) return i;
    i += std::max<size_t>(shift, 1);
  }
  return i;
}

std::optional<PatternSet::Found> PatternSet::next(Position& position, std::string_view bytes,
                                                  size_t from) const {
  uint32_t state = position;
  for (size_t i = from; i < bytes.size(); ++i) {
    if (state == 0) {
      i = skip(bytes, i);
      if (i == bytes.size()) break;
    }
    state = steps_[state * classes_ + class_of_[static_cast<unsigned char>(bytes[i])]];
    if (states_[state].text == kNone) continue;
    position = state;
    return Found{states_[state].text, i + 1};
  }
  position = state;
  return std::nullopt;
}

std::vector<std::string> base64_forms(std::string_view text) {
  std::vector<std::string> forms;
  for (size_t before = 0; before < 3; ++before) {
    std::string encoded = base64_encode(std::string(before, '\0') + std::string(text));
    size_t first = (before * 8 + 5) / 6, last = (before + text.size()) * 8 / 6;
    if (first >= last) continue;
    std::string form = encoded.substr(first, last - first);
    std::string url_form = form;
    std::replace(url_form.begin(), url_form.end(), '+', '-');
    std::replace(url_form.begin(), url_form.end(), '/', '_');
    if (url_form != form) forms.push_back(std::move(url_form));
    forms.push_back(std::move(form));
  }
  return forms;
}

}  // namespace hako::gate
