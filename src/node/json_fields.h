// Reading typed members of a JSON object, with the first problem remembered.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace hako::node {

/// Reads members one after the other; a missing or wrongly typed one is noted once, in problem(),
/// so that the caller checks only at the end. The object must outlive this.
class Fields {
 public:
  explicit Fields(const boost::json::object& object) : object_(object) {}

  std::string text(std::string_view name) {
    auto value = object_.if_contains(name);
    if (value && value->is_string()) return std::string(value->get_string());
    note(name, "a string");
    return {};
  }
  std::string text_or(std::string_view name, std::string_view fallback) {
    return object_.if_contains(name) ? text(name) : std::string(fallback);
  }
  int64_t integer(std::string_view name) {
    if (auto value = object_.if_contains(name)) {
      boost::json::error_code error;
      auto number = value->to_number<int64_t>(error);
      if (!error) return number;
    }
    note(name, "an integer");
    return 0;
  }
  int64_t integer_or(std::string_view name, int64_t fallback) {
    return object_.if_contains(name) ? integer(name) : fallback;
  }
  bool boolean(std::string_view name) {
    auto value = object_.if_contains(name);
    if (value && value->is_bool()) return value->get_bool();
    note(name, "true or false");
    return false;
  }
  boost::json::object object(std::string_view name) {
    auto value = object_.if_contains(name);
    if (value && value->is_object()) return value->get_object();
    note(name, "an object");
    return {};
  }
  /// The member as an object; empty when absent.
  boost::json::object object_or_empty(std::string_view name) {
    return object_.if_contains(name) ? object(name) : boost::json::object();
  }

  /// "field 'x' must be a string", or nothing when all was well.
  const std::optional<std::string>& problem() const { return problem_; }

 private:
  void note(std::string_view name, std::string_view expected) {
    if (!problem_) problem_ = "field '" + std::string(name) + "' must be " + std::string(expected);
  }

  const boost::json::object& object_;
  std::optional<std::string> problem_;
};

}  // namespace hako::node
