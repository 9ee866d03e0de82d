// What a tool takes: said once, for the schema that clients read and for the check of what they
// send. Pure.
#pragma once

#include <boost/json/object.hpp>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hako::mcp {

struct Parameter {
  enum class Kind {
    text,
    integer,
    boolean,
    texts,     ///< a list of texts
    text_map,  ///< an object whose members are texts
  };
  std::string_view name;
  Kind kind = Kind::text;
  std::string_view description;
  bool required = false;
  int64_t least = 0, most = 0;  ///< of an integer; of a text the most bytes, 0: 4096
  std::span<const std::string_view> words{};  ///< of a text: one of these; empty: any
  std::optional<int64_t> usual{};             ///< of an integer that is not given
};

/// JSON Schema (2020-12) of an object with these members and no others.
boost::json::object input_schema(std::span<const Parameter> parameters);

/// Arguments that fit their parameters.
class Arguments {
 public:
  /// invalid_argument, saying what is wrong with which: for the model that wrote it.
  static Result<Arguments> check(std::span<const Parameter> parameters,
                                 boost::json::object values);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Empty where it was not given.
  std::string text(std::string_view name) const;
  /// What was given, else what is usual, else nothing.
  std::optional<int64_t> number(std::string_view name) const;
  bool flag(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  std::vector<std::pair<std::string, std::string>> pairs(std::string_view name) const;

 private:
  const boost::json::value* find(std::string_view name) const;

  std::span<const Parameter> parameters_;
  boost::json::object values_;
};

}  // namespace hako::mcp
