// Looking for the placeholders of a box's secrets in what it sends. Pure.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gate/pattern_set.h"

namespace hako::gate {

/// What to look for. Immutable.
class PlaceholderSet {
 public:
  struct Placeholder {
    std::string secret;  ///< its name
    std::string text;
  };
  /// Shorter ones would be found in anything; bytes.
  static constexpr size_t kShortest = 8;
  static constexpr size_t kMost = 512;

  PlaceholderSet() = default;
  /// invalid_argument: too many, or one that is too short.
  static Result<PlaceholderSet> make(std::vector<Placeholder> placeholders);

  const std::vector<Placeholder>& all() const { return placeholders_; }
  /// The secret whose placeholder is in `text`: plainly, in base64, or with escapes as in URLs and
  /// JSON. Null if there is none.
  const std::string* find_in(std::string_view text) const;

 private:
  friend class PlaceholderSearch;
  const std::string* secret_of(size_t pattern) const {
    return &placeholders_[owners_[pattern]].secret;
  }

  std::vector<Placeholder> placeholders_;
  PatternSet patterns_;
  std::vector<size_t> owners_;  ///< of each pattern
};

/// The same in a stream, wherever its pieces begin and end. `set` outlives it.
class PlaceholderSearch {
 public:
  explicit PlaceholderSearch(const PlaceholderSet& set) : set_(set) {}

  /// The secret whose placeholder ends in this piece, or null.
  const std::string* feed(std::string_view piece);

 private:
  const std::string* feed_plain(std::string_view piece, PatternSet::Position& position) const;
  void unescape(char c);

  const PlaceholderSet& set_;
  PatternSet::Position plain_ = PatternSet::kStart, unescaped_ = PatternSet::kStart;
  bool escapes_ = false;  ///< there was one: from then on the two differ
  std::string escape_;    ///< one that has begun
  std::string text_;      ///< what a piece is without escapes
};

/// What a request's body may be compressed with, to be looked at as it passes.
class BodySearch {
 public:
  /// `encoding`: Content-Encoding, empty for none. Whether that can be looked at.
  static bool can_read(std::string_view encoding);
  /// Inflated bytes of one body. What is longer is not looked at, and so refused.
  static constexpr size_t kMostInflated = 32 << 20;

  BodySearch(const PlaceholderSet& set, std::string_view encoding);
  ~BodySearch();
  BodySearch(const BodySearch&) = delete;

  /// Why this piece may not pass; empty if it may. An empty piece is the end.
  std::string refusal_of(std::string_view piece);
  /// Whose placeholder it was.
  const std::string& secret() const { return secret_; }

 private:
  struct Inflater;
  std::string search(std::string_view piece);

  PlaceholderSearch search_;
  std::unique_ptr<Inflater> inflater_;
  std::string secret_;
};

}  // namespace hako::gate
