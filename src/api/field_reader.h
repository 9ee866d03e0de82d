// Reading the members of a request body, with the first problem remembered.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hako::api {

using TextPairs = std::vector<std::pair<std::string, std::string>>;

/// How much a map of texts may hold. Sizes in bytes; `total` counts keys and values.
struct MapLimits {
  size_t pairs;
  size_t key;
  size_t value;
  size_t total;
};

/// Takes members out of a JSON object. An absent or null member is nothing; a wrong one is noted,
/// with its full name, and problem() tells about the first. Members nobody asks for are ignored.
/// The object must outlive this.
class FieldReader {
 public:
  /// `prefix`: what stands before a member's name in messages ("network.").
  explicit FieldReader(const boost::json::object& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}

  /// At most `longest` bytes, without NUL.
  std::optional<std::string> text(std::string_view name, size_t longest);
  std::optional<bool> flag(std::string_view name);
  /// A whole number within the bounds.
  std::optional<int64_t> number(std::string_view name, int64_t least, int64_t most);
  const boost::json::object* object(std::string_view name);
  const boost::json::array* array(std::string_view name);
  /// An object whose values are all texts. Keys must not be empty.
  std::optional<TextPairs> texts(std::string_view name, const MapLimits& limits);
  /// An array of texts.
  std::optional<std::vector<std::string>> text_list(std::string_view name, size_t most,
                                                    size_t longest);

  /// Notes every member that is none of these. Where one that is misspelt would leave more open
  /// than whoever wrote it wanted.
  void allow_only(std::initializer_list<std::string_view> names);

  /// Notes that `name` is wrong: "<prefix><name> <what>".
  void fail(std::string_view name, std::string_view what,
            ErrorCode code = ErrorCode::invalid_argument);
  /// Takes over the problem of a reader of something inside.
  void merge(const FieldReader& inner);
  Result<void> outcome() const;

 private:
  const boost::json::value* find(std::string_view name) const;

  const boost::json::object& object_;
  std::string prefix_;
  std::optional<Error> problem_;
};

/// A body that must be a JSON object; empty is an empty one. invalid_argument otherwise.
Result<boost::json::object> parse_body(std::string_view body);

}  // namespace hako::api
