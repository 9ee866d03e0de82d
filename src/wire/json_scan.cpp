#include "wire/json_scan.h"

#include <boost/json/basic_parser_impl.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace hako::wire {
namespace {

namespace json = boost::json;

bool is_plain_name(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || c == '-';
  });
}

/// What Boost.JSON's parser tells of a text, made into values with paths.
struct ScanHandler {
  static constexpr size_t max_object_size = SIZE_MAX;
  static constexpr size_t max_array_size = SIZE_MAX;
  static constexpr size_t max_key_size = SIZE_MAX;
  static constexpr size_t max_string_size = SIZE_MAX;

  explicit ScanHandler(JsonScanner::Visit call) : visit(std::move(call)) {}

  void clear() {
    path.clear();
    frames.clear();
    text.clear();
    cut = false;
  }

  void tell(const JsonScanner::Value& value) { visit(path, value); }

  void step(std::string_view name) {
    path += '/';
    path += frames.size() > JsonScanner::kDeepestName ? "?" : name;
  }

  void take(std::string_view part, size_t most) {
    size_t room = most - std::min(most, text.size());
    cut = cut || part.size() > room;
    text.append(part.substr(0, room));
  }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }

  bool open(JsonScanner::Kind kind) {
    tell({.kind = kind});
    frames.push_back(path.size());
    if (kind == JsonScanner::Kind::array) step("[]");
    return true;
  }
  bool close() {
    path.resize(frames.back());
    frames.pop_back();
    tell({.kind = JsonScanner::Kind::end});
    return true;
  }
  bool on_object_begin(json::error_code&) { return open(JsonScanner::Kind::object); }
  bool on_object_end(size_t, json::error_code&) { return close(); }
  bool on_array_begin(json::error_code&) { return open(JsonScanner::Kind::array); }
  bool on_array_end(size_t, json::error_code&) { return close(); }

  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    take(part, JsonScanner::kLongestName);
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code&) {
    take(part, JsonScanner::kLongestName);
    path.resize(frames.back());
    step(cut || !is_plain_name(text) ? std::string_view("?") : std::string_view(text));
    text.clear();
    cut = false;
    return true;
  }

  bool on_string_part(json::string_view part, size_t, json::error_code&) {
    take(part, JsonScanner::kLongestText);
    return true;
  }
  bool on_string(json::string_view part, size_t, json::error_code&) {
    take(part, JsonScanner::kLongestText);
    tell({.kind = JsonScanner::Kind::text, .text = text, .cut = cut});
    text.clear();
    cut = false;
    return true;
  }

  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t number, json::string_view, json::error_code&) {
    tell({.kind = JsonScanner::Kind::integer, .integer = number});
    return true;
  }
  bool on_uint64(uint64_t number, json::string_view, json::error_code&) {
    if (number > INT64_MAX) {
      tell({.kind = JsonScanner::Kind::real});
    } else {
      tell({.kind = JsonScanner::Kind::integer, .integer = static_cast<int64_t>(number)});
    }
    return true;
  }
  bool on_double(double, json::string_view, json::error_code&) {
    tell({.kind = JsonScanner::Kind::real});
    return true;
  }
  bool on_bool(bool flag, json::error_code&) {
    tell({.kind = JsonScanner::Kind::boolean, .flag = flag});
    return true;
  }
  bool on_null(json::error_code&) {
    tell({.kind = JsonScanner::Kind::null});
    return true;
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  JsonScanner::Visit visit;
  std::string path;
  std::vector<size_t> frames;  ///< how long the path of each object and array around is
  std::string text;  ///< of the name or text that is being read
  bool cut = false;
};

json::parse_options scan_options() {
  json::parse_options options;
  options.max_depth = JsonScanner::kDeepest;
  return options;
}

}  // namespace

struct JsonScanner::Parser {
  explicit Parser(Visit visit) : scan(scan_options(), std::move(visit)) {}
  json::basic_parser<ScanHandler> scan;
  bool failed = false;
};

JsonScanner::JsonScanner(Visit visit) : parser_(std::make_unique<Parser>(std::move(visit))) {}
JsonScanner::JsonScanner(JsonScanner&&) noexcept = default;
JsonScanner& JsonScanner::operator=(JsonScanner&&) noexcept = default;
JsonScanner::~JsonScanner() = default;

bool JsonScanner::feed(std::string_view piece) {
  if (parser_->failed) return false;
  if (piece.empty()) return true;
  json::error_code error;
  size_t read = 0;
  // It stops behind the value, and would begin another one when called again.
  if (!parser_->scan.done()) read = parser_->scan.write_some(true, piece.data(), piece.size(), error);
  bool rest_blank = piece.find_first_not_of(" \t\r\n", read) == piece.npos;
  parser_->failed = error || !rest_blank;
  return !parser_->failed;
}

bool JsonScanner::finish() {
  if (parser_->failed) return false;
  json::error_code error;
  if (!parser_->scan.done()) parser_->scan.write_some(false, "", 0, error);
  parser_->failed = error || !parser_->scan.done();
  return !parser_->failed;
}

void JsonScanner::reset() {
  parser_->scan.reset();
  parser_->scan.handler().clear();
  parser_->failed = false;
}

}  // namespace hako::wire
