#include "api/field_reader.h"

#include <algorithm>

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kLongestNameShown = 64;

std::string shown(std::string_view name) {
  std::string text(name.substr(0, kLongestNameShown));
  // Cutting may have split a character; only whole ASCII is shown of such names.
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return name.size() > kLongestNameShown ? text + "..." : text;
}

std::string_view view(const json::string& text) {
  return {text.data(), text.size()};
}
std::string_view view(json::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

const json::value* FieldReader::find(std::string_view name) const {
  auto found = object_.if_contains(json::string_view(name.data(), name.size()));
  return found && !found->is_null() ? found : nullptr;
}

void FieldReader::allow_only(std::initializer_list<std::string_view> names) {
  for (const auto& member : object_) {
    std::string_view name = view(member.key());
    if (std::find(names.begin(), names.end(), name) == names.end()) fail(name, "is not known here");
  }
}

void FieldReader::fail(std::string_view name, std::string_view what, ErrorCode code) {
  if (!problem_) problem_.emplace(code, prefix_ + shown(name) + " " + std::string(what));
}

void FieldReader::merge(const FieldReader& inner) {
  if (!problem_) problem_ = inner.problem_;
}

Result<void> FieldReader::outcome() const {
  if (problem_) return *problem_;
  return ok();
}

std::optional<std::string> FieldReader::text(std::string_view name, size_t longest) {
  const json::value* value = find(name);
  if (!value) return std::nullopt;
  const json::string* text = value->if_string();
  if (!text) {
    fail(name, "must be a string");
  } else if (text->size() > longest) {
    fail(name, "must have at most " + std::to_string(longest) + " bytes");
  } else if (view(*text).find('\0') != std::string_view::npos) {
    fail(name, "must not hold a NUL character");
  } else {
    return std::string(view(*text));
  }
  return std::nullopt;
}

std::optional<bool> FieldReader::flag(std::string_view name) {
  const json::value* value = find(name);
  if (!value) return std::nullopt;
  if (const bool* flag = value->if_bool()) return *flag;
  fail(name, "must be true or false");
  return std::nullopt;
}

std::optional<int64_t> FieldReader::number(std::string_view name, int64_t least, int64_t most) {
  const json::value* value = find(name);
  if (!value) return std::nullopt;
  json::error_code bad;
  int64_t number = value->is_number() ? value->to_number<int64_t>(bad) : 0;
  if (value->is_number() && !bad && number >= least && number <= most) return number;
  fail(name,
       "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return std::nullopt;
}

const json::object* FieldReader::object(std::string_view name) {
  const json::value* value = find(name);
  if (value && !value->is_object()) fail(name, "must be an object");
  return value ? value->if_object() : nullptr;
}

const json::array* FieldReader::array(std::string_view name) {
  const json::value* value = find(name);
  if (value && !value->is_array()) fail(name, "must be an array");
  return value ? value->if_array() : nullptr;
}

std::optional<TextPairs> FieldReader::texts(std::string_view name, const MapLimits& limits) {
  const json::object* members = object(name);
  if (!members) return std::nullopt;
  if (members->size() > limits.pairs) {
    fail(name, "must have at most " + std::to_string(limits.pairs) + " entries");
    return std::nullopt;
  }
  TextPairs pairs;
  size_t total = 0;
  for (const auto& member : *members) {
    std::string_view key = view(member.key());
    std::string full = std::string(name) + "." + std::string(key.substr(0, kLongestNameShown));
    const json::string* value = member.value().if_string();
    if (key.empty()) {
      fail(name, "must not have an empty key");
    } else if (key.size() > limits.key) {
      fail(full, "must have a key of at most " + std::to_string(limits.key) + " bytes");
    } else if (!value) {
      fail(full, "must be a string");
    } else if (value->size() > limits.value) {
      fail(full, "must have at most " + std::to_string(limits.value) + " bytes");
    } else if (key.find('\0') != key.npos || view(*value).find('\0') != key.npos) {
      fail(full, "must not hold a NUL character");
    } else if ((total += key.size() + value->size()) > limits.total) {
      fail(name, "must have at most " + std::to_string(limits.total) + " bytes in all");
    } else {
      pairs.emplace_back(key, view(*value));
      continue;
    }
    return std::nullopt;
  }
  return pairs;
}

std::optional<std::vector<std::string>> FieldReader::text_list(std::string_view name, size_t most,
                                                               size_t longest) {
  const json::array* items = array(name);
  if (!items) return std::nullopt;
  if (items->size() > most) {
    fail(name, "must have at most " + std::to_string(most) + " entries");
    return std::nullopt;
  }
  std::vector<std::string> texts;
  for (const json::value& item : *items) {
    const json::string* text = item.if_string();
    if (!text || text->size() > longest) {
      fail(std::string(name) + "[" + std::to_string(texts.size()) + "]",
           "must be a string of at most " + std::to_string(longest) + " bytes");
      return std::nullopt;
    }
    if (view(*text).find('\0') != std::string_view::npos) {
      fail(std::string(name) + "[" + std::to_string(texts.size()) + "]",
           "must not hold a NUL character");
      return std::nullopt;
    }
    texts.emplace_back(view(*text));
  }
  return texts;
}

Result<json::object> parse_body(std::string_view body) {
  if (body.empty()) return json::object();
  json::error_code bad;
  json::value value = json::parse(json::string_view(body.data(), body.size()), bad);
  if (bad) return Error(ErrorCode::invalid_argument, "the body is not valid JSON");
  if (!value.is_object()) {
    return Error(ErrorCode::invalid_argument, "the body must be a JSON object");
  }
  return std::move(value.get_object());
}

}  // namespace hako::api
