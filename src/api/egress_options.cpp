#include "api/egress_options.h"

#include <algorithm>

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kMostOwnTargets = 256;
constexpr size_t kLongestOwnTarget = 300;
constexpr size_t kLongestWord = 32;
constexpr size_t kMostSecretNames = 32;
constexpr size_t kLongestSecretReference = 64;
constexpr std::string_view kLevels = "must be none, allow or internet";
constexpr std::string_view kLabels = "must be public, internal, confidential or secret";

json::string_view text_view(std::string_view text) {
  return {text.data(), text.size()};
}

const std::string* find_pair(const TextPairs& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs)
    if (key == name) return &value;
  return nullptr;
}

void check_targets(FieldReader& reader, std::string_view name,
                   const std::vector<std::string>& targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    auto parsed = policy::parse_target(targets[i]);
    if (!parsed) {
      reader.fail(std::string(name) + "[" + std::to_string(i) + "]",
                  "is no target: " + parsed.error().message());
    }
  }
}

/// Texts between commas, without the spaces around them.
std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    size_t end = std::min(text.find(','), text.size());
    std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

/// "192.0.2.1:80-90,443" is one target, and in a list of targets the comma of its ports looks like
/// the list's: what begins with a digit and has neither dot nor colon goes on with the last one.
std::vector<std::string> split_targets(std::string_view text) {
  std::vector<std::string> targets;
  for (std::string& part : split_list(text)) {
    bool ports = part.find_first_not_of("0123456789-") == std::string::npos;
    if (ports && !targets.empty()) {
      targets.back() += "," + part;
    } else {
      targets.push_back(std::move(part));
    }
  }
  return targets;
}

void read_own_list(FieldReader& reader, std::string_view name, std::vector<std::string>& into) {
  auto targets = reader.text_list(name, kMostOwnTargets, kLongestOwnTarget);
  if (!targets) return;
  check_targets(reader, name, *targets);
  into = std::move(*targets);
}

void read_metadata_list(FieldReader& reader, const TextPairs& metadata, std::string_view key,
                        std::vector<std::string>& into) {
  const std::string* text = find_pair(metadata, key);
  if (!text) return;
  into = split_targets(*text);
  check_targets(reader, "metadata." + std::string(key), into);
}

}  // namespace

void read_egress(FieldReader& reader, EgressOptions& egress) {
  if (auto word = reader.text("egress", kLongestWord)) {
    egress.level = policy::egress_level_from(*word);
    if (!egress.level) reader.fail("egress", kLevels);
  }
  read_own_list(reader, "allow", egress.allow);
  read_own_list(reader, "deny", egress.deny);
}

void read_egress_metadata(FieldReader& reader, const TextPairs& metadata, EgressOptions& egress) {
  if (const std::string* word = find_pair(metadata, kEgressKey)) {
    egress.level = policy::egress_level_from(*word);
    if (!egress.level) reader.fail("metadata." + std::string(kEgressKey), kLevels);
  }
  read_metadata_list(reader, metadata, kAllowKey, egress.allow);
  read_metadata_list(reader, metadata, kDenyKey, egress.deny);
}

std::optional<policy::Label> read_label(FieldReader& reader) {
  auto word = reader.text("label", kLongestWord);
  if (!word) return std::nullopt;
  auto label = policy::label_from(*word);
  if (!label) reader.fail("label", kLabels);
  return label;
}

policy::Label read_labels(FieldReader& reader, const TextPairs& metadata) {
  policy::Label label = read_label(reader).value_or(policy::Label::public_data);
  const std::string* word = find_pair(metadata, kLabelKey);
  if (!word) return label;
  auto second = policy::label_from(*word);
  if (!second) reader.fail("metadata." + std::string(kLabelKey), kLabels);
  return policy::high_water(label, second.value_or(label));
}

std::vector<std::string> read_secret_names(FieldReader& reader, const TextPairs& metadata) {
  auto names = reader.text_list("secrets", kMostSecretNames, kLongestSecretReference)
                   .value_or(std::vector<std::string>());
  if (const std::string* text = find_pair(metadata, kSecretsKey)) {
    for (std::string& name : split_list(*text)) names.push_back(std::move(name));
  }
  if (names.size() > kMostSecretNames) reader.fail("secrets", "must have at most 32 names");
  return names;
}

json::object to_json(const EgressOptions& egress) {
  json::object object;
  if (egress.level) object["level"] = text_view(policy::to_string(*egress.level));
  object["allow"] = json::array(egress.allow.begin(), egress.allow.end());
  object["deny"] = json::array(egress.deny.begin(), egress.deny.end());
  return object;
}

EgressOptions parse_egress_options(const json::object& fields) {
  FieldReader reader(fields);
  EgressOptions egress;
  if (auto word = reader.text("level", kLongestWord)) {
    egress.level = policy::egress_level_from(*word);
  }
  read_own_list(reader, "allow", egress.allow);
  read_own_list(reader, "deny", egress.deny);
  return egress;
}

}  // namespace hako::api
