#include "mcp/arguments.h"

#include <boost/json/array.hpp>

#include <algorithm>

#include "mcp/message.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

using Kind = Parameter::Kind;

constexpr size_t kLongestText = 4096;
constexpr size_t kMostMembers = 256;

json::string_view viewed(std::string_view text) {
  return {text.data(), text.size()};
}

std::string_view viewed(const json::string& text) {
  return {text.data(), text.size()};
}

Error wrong(const Parameter& parameter, std::string_view what) {
  return Error(ErrorCode::invalid_argument,
               "'" + std::string(parameter.name) + "' must be " + std::string(what));
}

size_t longest(const Parameter& parameter) {
  bool said = parameter.kind == Kind::text && parameter.most > 0;
  return said ? size_t(parameter.most) : kLongestText;
}

/// A text as programs take it: bounded, and without the byte that ends theirs.
Result<void> check_text(const Parameter& parameter, const json::value& value) {
  const json::string* text = value.if_string();
  if (!text) return wrong(parameter, "a text");
  if (text->size() > longest(parameter))
    return wrong(parameter, "at most " + std::to_string(longest(parameter)) + " bytes long");
  if (text->find('\0') != json::string::npos) return wrong(parameter, "without NUL characters");
  return ok();
}

std::string words_of(const Parameter& parameter) {
  std::string all;
  for (std::string_view word : parameter.words) {
    if (!all.empty()) all += ", ";
    all += word;
  }
  return all;
}

Result<void> check_value(const Parameter& parameter, const json::value& value) {
  switch (parameter.kind) {
    case Kind::text: {
      HAKO_TRYV(check_text(parameter, value));
      std::string_view text = viewed(value.get_string());
      bool known = parameter.words.empty() ||
                   std::ranges::find(parameter.words, text) != parameter.words.end();
      if (!known) return wrong(parameter, "one of: " + words_of(parameter));
      return ok();
    }
    case Kind::integer: {
      const int64_t* number = value.if_int64();
      if (!number || *number < parameter.least || *number > parameter.most)
        return wrong(parameter, "an integer from " + std::to_string(parameter.least) + " to " +
                                    std::to_string(parameter.most));
      return ok();
    }
    case Kind::boolean:
      if (!value.is_bool()) return wrong(parameter, "true or false");
      return ok();
    case Kind::texts: {
      const json::array* list = value.if_array();
      if (!list || list->size() > kMostMembers) return wrong(parameter, "a list of texts");
      for (const json::value& member : *list) {
        HAKO_TRYV(check_text(parameter, member));
      }
      return ok();
    }
    case Kind::text_map: {
      const json::object* map = value.if_object();
      if (!map || map->size() > kMostMembers)
        return wrong(parameter, "an object whose members are texts");
      for (const auto& [name, member] : *map) {
        bool clean = !name.empty() && name.find('\0') == name.npos && name.find('=') == name.npos;
        if (!clean) return wrong(parameter, "an object of names and texts");
        HAKO_TRYV(check_text(parameter, member));
      }
      return ok();
    }
  }
  return wrong(parameter, "something else");
}

json::object schema_of(const Parameter& parameter) {
  json::object schema;
  json::object text;
  text["type"] = "string";
  switch (parameter.kind) {
    case Kind::text: {
      schema = std::move(text);
      if (!parameter.words.empty()) {
        json::array words;
        for (std::string_view word : parameter.words) words.emplace_back(viewed(word));
        schema["enum"] = std::move(words);
      }
      break;
    }
    case Kind::integer:
      schema["type"] = "integer";
      schema["minimum"] = parameter.least;
      schema["maximum"] = parameter.most;
      if (parameter.usual) schema["default"] = *parameter.usual;
      break;
    case Kind::boolean:
      schema["type"] = "boolean";
      schema["default"] = false;
      break;
    case Kind::texts:
      schema["type"] = "array";
      schema["items"] = std::move(text);
      break;
    case Kind::text_map:
      schema["type"] = "object";
      schema["additionalProperties"] = std::move(text);
      break;
  }
  schema["description"] = viewed(parameter.description);
  return schema;
}

}  // namespace

json::object input_schema(std::span<const Parameter> parameters) {
  json::object properties;
  json::array required;
  for (const Parameter& parameter : parameters) {
    properties[viewed(parameter.name)] = schema_of(parameter);
    if (parameter.required) required.emplace_back(viewed(parameter.name));
  }
  json::object schema;
  schema["type"] = "object";
  schema["properties"] = std::move(properties);
  if (!required.empty()) schema["required"] = std::move(required);
  schema["additionalProperties"] = false;
  return schema;
}

Result<Arguments> Arguments::check(std::span<const Parameter> parameters, json::object values) {
  for (const Parameter& parameter : parameters) {
    const json::value* value = values.if_contains(viewed(parameter.name));
    // Clients fill in null for what they leave out.
    if (value && value->is_null() && !parameter.required) {
      values.erase(viewed(parameter.name));
      value = nullptr;
    }
    if (!value && parameter.required)
      return Error(ErrorCode::invalid_argument,
                   "'" + std::string(parameter.name) + "' is required");
    if (value) {
      HAKO_TRYV(check_value(parameter, *value));
    }
  }
  for (const auto& [name, value] : values) {
    std::string_view given(name.data(), name.size());
    bool known = std::ranges::any_of(parameters, [&](const Parameter& p) { return p.name == given; });
    if (!known)
      return Error(ErrorCode::invalid_argument, "'" + quotable(given) + "' is not a parameter of it");
  }
  Arguments arguments;
  arguments.parameters_ = parameters;
  arguments.values_ = std::move(values);
  return arguments;
}

const json::value* Arguments::find(std::string_view name) const {
  return values_.if_contains(viewed(name));
}

std::string Arguments::text(std::string_view name) const {
  const json::value* value = find(name);
  return value ? std::string(viewed(value->get_string())) : std::string();
}

std::optional<int64_t> Arguments::number(std::string_view name) const {
  if (const json::value* value = find(name)) return value->get_int64();
  for (const Parameter& parameter : parameters_)
    if (parameter.name == name) return parameter.usual;
  return std::nullopt;
}

bool Arguments::flag(std::string_view name) const {
  const json::value* value = find(name);
  return value && value->get_bool();
}

std::vector<std::string> Arguments::texts(std::string_view name) const {
  std::vector<std::string> all;
  const json::value* value = find(name);
  if (!value) return all;
  for (const json::value& member : value->get_array())
    all.emplace_back(viewed(member.get_string()));
  return all;
}

std::vector<std::pair<std::string, std::string>> Arguments::pairs(std::string_view name) const {
  std::vector<std::pair<std::string, std::string>> all;
  const json::value* value = find(name);
  if (!value) return all;
  for (const auto& [key, member] : value->get_object())
    all.emplace_back(std::string(key.data(), key.size()), std::string(viewed(member.get_string())));
  return all;
}

}  // namespace hako::mcp
