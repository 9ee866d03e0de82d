#include "wire/json_text.h"

#include <boost/json/parse.hpp>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <ctime>

namespace hako::wire {
namespace {

/// Length of the well-formed UTF-8 sequence at the start of `text`, or 0.
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  auto continues = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    if (first == 0xe0 && byte(1) < 0xa0) return 0;
    if (first == 0xed && byte(1) > 0x9f) return 0;  // surrogates
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;
    if (first == 0xf4 && byte(1) > 0x8f) return 0;
    return 4;
  }
  return 0;
}

Error wrong_type(std::string_view name, std::string_view wanted) {
  return Error(ErrorCode::invalid_argument,
               "field '" + std::string(name) + "' must be " + std::string(wanted));
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  size_t plain = 0;
  auto flush = [&](size_t end) { out.append(text.substr(plain, end - plain)); };
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
      ++i;
      continue;
    }
    if (c >= 0x80) {
      if (size_t length = utf8_length(text.substr(i))) {
        i += length;
        continue;
      }
      flush(i);
      out += "\xef\xbf\xbd";
    } else {
      flush(i);
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\r':
          out += "\\r";
          break;
        default:
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
      }
    }
    plain = ++i;
  }
  flush(text.size());
  out += '"';
}

void append_json_number(std::string& out, int64_t value) {
  char digits[24];
  auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}

void append_json_time(std::string& out, int64_t seconds, uint32_t nanoseconds) {
  std::tm parts{};
  std::time_t time = seconds;
  ::gmtime_r(&time, &parts);
  char text[64];
  int length = std::snprintf(text, sizeof text, "\"%04d-%02d-%02dT%02d:%02d:%02d.%09uZ\"",
                             parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                             parts.tm_min, parts.tm_sec, nanoseconds);
  out.append(text, static_cast<size_t>(length));
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

Result<boost::json::object> parse_object(std::string_view text) {
  if (text.empty()) return boost::json::object();
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(text, error);
  if (error) return Error(ErrorCode::invalid_argument, "malformed JSON: " + error.message());
  if (auto* object = value.if_object()) return std::move(*object);
  return Error(ErrorCode::invalid_argument, "the body must be a JSON object");
}

const boost::json::value* find_member(const boost::json::object& object, std::string_view camel,
                                      std::string_view snake) {
  auto* value = object.if_contains(camel);
  if (!value && !snake.empty()) value = object.if_contains(snake);
  return value && value->is_null() ? nullptr : value;
}

Result<std::optional<std::string>> string_member(const boost::json::object& object,
                                                 std::string_view camel, std::string_view snake) {
  auto* value = find_member(object, camel, snake);
  std::optional<std::string> found;
  if (value) {
    auto* text = value->if_string();
    if (!text) return wrong_type(camel, "a string");
    found.emplace(text->data(), text->size());
  }
  return found;
}

Result<std::optional<bool>> bool_member(const boost::json::object& object, std::string_view camel,
                                        std::string_view snake) {
  auto* value = find_member(object, camel, snake);
  std::optional<bool> found;
  if (value) {
    auto* flag = value->if_bool();
    if (!flag) return wrong_type(camel, "true or false");
    found = *flag;
  }
  return found;
}

Result<std::optional<int64_t>> int_member(const boost::json::object& object, std::string_view camel,
                                          std::string_view snake) {
  auto* value = find_member(object, camel, snake);
  std::optional<int64_t> found;
  if (!value) return found;
  if (auto* number = value->if_int64()) {
    found = *number;
  } else if (auto* natural = value->if_uint64(); natural && *natural <= INT64_MAX) {
    found = static_cast<int64_t>(*natural);
  } else if (auto* text = value->if_string()) {
    int64_t parsed = 0;
    const char* end = text->data() + text->size();
    auto [stop, problem] = std::from_chars(text->data(), end, parsed);
    if (problem != std::errc() || stop != end) return wrong_type(camel, "an integer");
    found = parsed;
  } else if (auto* real = value->if_double();
             real && *real >= -9e15 && *real <= 9e15 &&
             *real == static_cast<double>(static_cast<int64_t>(*real))) {
    found = static_cast<int64_t>(*real);
  } else {
    return wrong_type(camel, "an integer");
  }
  return found;
}

Result<const boost::json::object*> object_member(const boost::json::object& object,
                                                 std::string_view camel, std::string_view snake) {
  auto* value = find_member(object, camel, snake);
  const boost::json::object* found = nullptr;
  if (value) {
    found = value->if_object();
    if (!found) return wrong_type(camel, "an object");
  }
  return found;
}

}  // namespace hako::wire
