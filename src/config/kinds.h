// The kinds of settings. `member`: a pointer to a member of Config, or a function from Config& to a
// reference.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include "config/keys.h"

namespace hako::config {

template <class Member>
Key number(const char* section, const char* name, Member member, int64_t least, int64_t most,
           const char* environment = nullptr) {
  auto set = [=](Config& config, const Value& value) -> std::optional<Refusal> {
    const int64_t* given = std::get_if<int64_t>(&value);
    if (!given || *given < least || *given > most) {
      return Refusal{"a whole number from " + std::to_string(least) + " to " +
                     std::to_string(most)};
    }
    auto& stored = std::invoke(member, config);
    stored = std::remove_reference_t<decltype(stored)>(*given);
    return std::nullopt;
  };
  return {section, name, environment, set, false};
}

using Check = bool (*)(const std::string&);

inline Key text(const char* section, const char* name, std::string Config::*member, Check check,
         const char* expected, const char* environment = nullptr) {
  auto set = [=](Config& config, const Value& value) -> std::optional<Refusal> {
    const std::string* given = std::get_if<std::string>(&value);
    if (!given || !check(*given)) return Refusal{expected};
    config.*member = *given;
    return std::nullopt;
  };
  return {section, name, environment, set, true};
}

inline Key flag(const char* section, const char* name, bool Config::*member) {
  auto set = [=](Config& config, const Value& value) -> std::optional<Refusal> {
    const bool* given = std::get_if<bool>(&value);
    if (!given) return Refusal{"true or false"};
    config.*member = *given;
    return std::nullopt;
  };
  return {section, name, nullptr, set, false};
}

template <class Member>
Key level(const char* section, std::string name, Member member) {
  auto set = [=](Config& config, const Value& value) -> std::optional<Refusal> {
    const std::string* given = std::get_if<std::string>(&value);
    auto known = given ? policy::egress_level_from(*given) : std::nullopt;
    if (!known) return Refusal{"\"none\", \"allow\" or \"internet\""};
    std::invoke(member, config) = *known;
    return std::nullopt;
  };
  return {section, std::move(name), nullptr, set, true};
}

/// `parse`: from a text to what the list holds, or nothing.
template <class Member, class Parse>
Key list(const char* section, std::string name, Member member, Parse parse, size_t most,
         const char* expected) {
  auto set = [=](Config& config, const Value& value) -> std::optional<Refusal> {
    const TextList* given = std::get_if<TextList>(&value);
    if (!given) return Refusal{std::string("a list of texts, each ") + expected};
    if (given->size() > most) return Refusal{"at most " + std::to_string(most) + " entries"};
    auto& stored = std::invoke(member, config);
    stored.clear();
    for (size_t i = 0; i < given->size(); ++i) {
      auto entry = parse((*given)[i]);
      if (!entry) return Refusal{expected, i};
      stored.push_back(std::move(*entry));
    }
    return std::nullopt;
  };
  return {section, std::move(name), nullptr, set, false};
}

}  // namespace hako::config
