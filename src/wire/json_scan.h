// Scalars of a JSON text of any size, read as it comes, in bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace hako::wire {

/// Walks through a JSON text without keeping it, and tells of each value where it stands. Value type
/// it is not: moves, no copies. What it keeps does not grow with the text.
class JsonScanner {
 public:
  enum class Kind { null, boolean, integer, real, text, object, array, end };

  struct Value {
    Kind kind = Kind::null;
    bool flag = false;      ///< of a boolean
    int64_t integer = 0;    ///< of an integer; one that does not fit is a real
    std::string_view text;  ///< of a text, its first kLongestText bytes
    bool cut = false;       ///< the text is longer
  };

  static constexpr size_t kLongestText = 256;
  static constexpr size_t kLongestName = 64;
  static constexpr size_t kDeepestName = 16;
  static constexpr size_t kDeepest = 200;

  /// `path` is "" for the text as a whole, and "/usage/tokens" or "/tools/[]/type" below it; "[]" stands
  /// for any place in an array. A name with characters outside [A-Za-z0-9_$-], one that is too long, and
  /// every name deeper than kDeepestName is "?", so that no name can be taken for a path. Objects and
  /// arrays are told of where they begin, and again, as Kind::end, where they end.
  using Visit = std::function<void(std::string_view path, const Value& value)>;

  explicit JsonScanner(Visit visit);
  JsonScanner(JsonScanner&&) noexcept;
  JsonScanner& operator=(JsonScanner&&) noexcept;
  ~JsonScanner();

  /// Reads on. False: what has come is no JSON, or nested deeper than kDeepest, and it stays so.
  bool feed(std::string_view piece);
  /// Nothing follows. Whether it was exactly one JSON value.
  bool finish();
  /// Begins anew, for another text.
  void reset();

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace hako::wire
