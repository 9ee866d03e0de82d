// JSON text written and read field by field, for messages too frequent or too large for a tree.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::wire {

/// Appends `text` as a quoted JSON string. What is not UTF-8 (file names may be anything) becomes
/// U+FFFD, so that the result is always valid JSON.
void append_json_string(std::string& out, std::string_view text);
void append_json_number(std::string& out, int64_t value);
/// Appends a quoted RFC 3339 time, UTC, with nanoseconds. `seconds`: Unix time.
void append_json_time(std::string& out, int64_t seconds, uint32_t nanoseconds);

/// Whether all of `text` is well-formed UTF-8.
bool is_utf8(std::string_view text);

/// Parses a request or response body that must be a JSON object. Empty text is an empty object.
/// invalid_argument otherwise; nesting is bounded by the parser (32).
Result<boost::json::object> parse_object(std::string_view text);

/// Member `camel` or `snake` (proto3 JSON allows both); nullptr when absent or null.
const boost::json::value* find_member(const boost::json::object& object, std::string_view camel,
                                      std::string_view snake = {});

/// Typed members. Absent or null gives nothing; a wrong type is invalid_argument naming the member.
Result<std::optional<std::string>> string_member(const boost::json::object& object,
                                                 std::string_view camel,
                                                 std::string_view snake = {});
Result<std::optional<bool>> bool_member(const boost::json::object& object, std::string_view camel,
                                        std::string_view snake = {});
/// An integer, as a number or (as proto3 JSON writes 64-bit ones) a decimal string.
Result<std::optional<int64_t>> int_member(const boost::json::object& object, std::string_view camel,
                                          std::string_view snake = {});
Result<const boost::json::object*> object_member(const boost::json::object& object,
                                                 std::string_view camel,
                                                 std::string_view snake = {});

}  // namespace hako::wire
