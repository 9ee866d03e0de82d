#include "config/config.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <optional>

#include "base/fd.h"
#include "config/keys.h"
#include "config/nearest.h"

namespace hako::config {
namespace {

constexpr size_t kLargestFile = 1 << 20;
constexpr size_t kMostProblemsShown = 10;

/// What to write instead of the unknown [section] name.
std::string suggestion(const std::string& section, const std::string& name) {
  std::vector<std::string> elsewhere;
  for (const Key& key : keys()) {
    if (key.name == name) elsewhere.push_back(key.section);
  }
  auto where = nearest(section, elsewhere);
  if (!where && elsewhere.size() == 1) where = elsewhere.front();
  if (where && *where != section) return "did you mean " + name + " in [" + *where + "]?";
  std::vector<std::string> known;
  for (const Key& key : keys()) {
    if (key.section == section) known.push_back(key.name);
  }
  if (auto near = nearest(name, known)) return "did you mean " + *near + "?";
  std::string list;
  for (const std::string& each : known) list += (list.empty() ? "" : ", ") + each;
  return "known here: " + list;
}

std::string unknown_section(const std::string& section) {
  std::vector<std::string> sections;
  for (const Key& key : keys()) {
    if (sections.empty() || sections.back() != key.section) sections.push_back(key.section);
  }
  std::string message = "[" + section + "] is not a known section";
  if (auto near = nearest(section, sections)) return message + "; did you mean [" + *near + "]?";
  std::string list;
  for (const std::string& each : sections) list += (list.empty() ? "[" : ", [") + each + "]";
  return message + "; known: " + list;
}

/// What was found, briefly and on one line.
std::string describe(const toml::node& node) {
  if (auto value = node.value<std::string>(); node.is_string() && value) {
    std::string shown = value->substr(0, 60);
    for (char& c : shown) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return "\"" + shown + "\"" + (value->size() > 60 ? "..." : "");
  }
  if (node.is_integer()) return std::to_string(node.value<int64_t>().value());
  if (node.is_boolean()) return node.value<bool>().value() ? "true" : "false";
  if (node.is_floating_point()) return "a number with a fraction";
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  return "a date or time";
}

Value value_of(const toml::node& node) {
  if (const toml::array* array = node.as_array()) {
    TextList texts;
    for (const toml::node& entry : *array) texts.push_back(entry.value_or(std::string()));
    return texts;
  }
  if (node.is_integer()) return node.value<int64_t>().value();
  if (node.is_boolean()) return node.value<bool>().value();
  if (node.is_string()) return node.value<std::string>().value();
  return std::monostate();
}

/// Gathers everything that is wrong, so that a person corrects it in one go.
class Problems {
 public:
  void add(const std::string& where, const std::string& what) {
    if (++count_ > kMostProblemsShown) return;
    if (!text_.empty()) text_ += '\n';
    text_ += where + ": " + what;
  }
  Result<void> outcome() const {
    if (count_ == 0) return ok();
    std::string text = text_;
    if (count_ > kMostProblemsShown) {
      text += "\nand " + std::to_string(count_ - kMostProblemsShown) + " more";
    }
    return Error(ErrorCode::invalid_argument, text);
  }

 private:
  std::string text_;
  size_t count_ = 0;
};

/// Where each key got its value, for the checks that look at several.
using Origins = std::map<std::string, std::string>;

void apply_section(const std::string& path, const std::string& section, const toml::table& table,
                   Config& config, Origins& origins, Problems& problems) {
  for (auto&& [toml_key, node] : table) {
    std::string name(toml_key.str());
    std::string where = path + ":" + std::to_string(toml_key.source().begin.line);
    const Key* key = find_key(section, name);
    if (!key) {
      problems.add(
          where, "[" + section + "] " + name + " is not a known key; " + suggestion(section, name));
      continue;
    }
    if (auto refusal = key->set(config, value_of(node))) {
      const toml::node& wrong = refusal->entry ? *node.as_array()->get(*refusal->entry) : node;
      std::string line = std::to_string(wrong.source().begin.line);
      problems.add(path + ":" + line, "[" + section + "] " + name + ": expected " +
                                          refusal->expected + ", found " + describe(wrong));
    }
    origins[key->full_name()] = where;
  }
}

void apply_file(const std::string& path, const toml::table& file, Config& config, Origins& origins,
                Problems& problems) {
  for (auto&& [toml_key, node] : file) {
    std::string name(toml_key.str());
    std::string where = path + ":" + std::to_string(toml_key.source().begin.line);
    const toml::table* section = node.as_table();
    bool known = std::any_of(keys().begin(), keys().end(),
                             [&](const Key& key) { return key.section == name; });
    if (!section) {
      problems.add(where, name + " stands outside of any section; write it under [section]");
    } else if (!known) {
      problems.add(where, unknown_section(name));
    } else {
      apply_section(path, name, *section, config, origins, problems);
    }
  }
}

void apply_environment(Config& config, Origins& origins, Problems& problems) {
  for (const Key& key : keys()) {
    const char* given = key.environment ? std::getenv(key.environment) : nullptr;
    if (!given || !*given) continue;
    std::string_view raw = given;
    Value value = std::string(raw);
    if (!key.is_text) {
      int64_t number = 0;
      auto [end, error] = std::from_chars(raw.data(), raw.data() + raw.size(), number);
      if (error == std::errc() && end == raw.data() + raw.size()) value = number;
    }
    std::string where = std::string("environment variable ") + key.environment;
    if (auto refusal = key.set(config, value)) {
      problems.add(where, "expected " + refusal->expected + ", found \"" +
                              std::string(raw.substr(0, 60)) + "\"");
    }
    origins[key.full_name()] = where;
  }
}

/// Where the first of these keys that was set got its value.
std::string origin_of(const Origins& origins, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (auto found = origins.find(name); found != origins.end()) return found->second;
  }
  return "defaults";
}

/// What boxes may reach: settings that would not do what they say.
void check_egress(const Config& config, const Origins& origins, Problems& problems) {
  auto shown = [](policy::EgressLevel level) {
    return " (\"" + std::string(policy::to_string(level)) + "\")";
  };
  const policy::EgressPlatform& egress = config.egress;
  if (egress.standard > egress.ceiling) {
    problems.add(origin_of(origins, {"egress.standard", "egress.ceiling"}),
                 "[egress] standard" + shown(egress.standard) + " is above ceiling" +
                     shown(egress.ceiling));
  }
  for (size_t i = 0; i < egress.labels.size(); ++i) {
    const policy::LabelCeiling& ceiling = egress.labels[i];
    std::string word(policy::to_string(policy::kLabels[i]));
    if (!ceiling.allow.empty() && ceiling.level != policy::EgressLevel::allow) {
      problems.add(origin_of(origins, {"labels." + word + "_allow"}),
                   "[labels] " + word + "_allow needs " + word + shown(ceiling.level) +
                       " to be \"allow\"");
    }
    if (i == 0 || ceiling.level <= egress.labels[i - 1].level) continue;
    std::string below(policy::to_string(policy::kLabels[i - 1]));
    problems.add(origin_of(origins, {"labels." + word, "labels." + below}),
                 "[labels] " + word + shown(ceiling.level) + " is above " + below +
                     shown(egress.labels[i - 1].level) +
                     ": what is more confidential cannot reach more");
  }
}

/// What no single key can get wrong.
void check_together(const Config& config, const Origins& origins, Problems& problems) {
  auto origin = [&](const std::vector<std::string>& names) { return origin_of(origins, names); };
  if (config.memory_mib > config.max_memory_mib) {
    problems.add(origin({"template.memory_mib", "limits.memory_mib"}),
                 "[template] memory_mib (" + std::to_string(config.memory_mib) +
                     ") is over [limits] memory_mib (" + std::to_string(config.max_memory_mib) +
                     "): no box could be made");
  }
  if (config.vcpus > config.max_vcpus) {
    problems.add(origin({"template.vcpus", "limits.vcpus"}),
                 "[template] vcpus (" + std::to_string(config.vcpus) +
                     ") is over [limits] vcpus (" + std::to_string(config.max_vcpus) +
                     "): no box could be made");
  }
  if (config.api_port == config.gate_port && config.api_address == config.gate_address) {
    problems.add(origin({"gate.port", "api.port"}), "[gate] port and [api] port are both " +
                                                        std::to_string(config.api_port) +
                                                        " on the same address; they must differ");
  }
  if (config.api_certificate.empty() != config.api_certificate_key.empty()) {
    problems.add(origin({"api.certificate", "api.key"}),
                 "[api] certificate and key belong together: set both or none");
  }
  if (config.gate_certificate.empty() != config.gate_key.empty()) {
    problems.add(origin({"gate.certificate", "gate.key"}),
                 "[gate] certificate and key belong together: set both or none");
  }
  if (!config.master_key_file.empty() && !config.master_key_command.empty()) {
    problems.add(origin({"secrets.master_key_command", "secrets.master_key_file"}),
                 "[secrets] master_key_file and master_key_command: only one of them can be the key");
  }
  if (config.api_uid == config.gate_uid) {
    problems.add(origin({"users.gate", "users.api"}),
                 "[users] api and gate must be different users");
  }
  uint32_t last_vmm = config.vmm_uid_base + uint32_t(config.max_boxes) + 4096;
  auto is_vmm = [&](uint32_t uid) { return uid >= config.vmm_uid_base && uid < last_vmm; };
  if (is_vmm(config.api_uid) || is_vmm(config.gate_uid)) {
    problems.add(origin({"users.vmm_base", "users.api", "users.gate"}),
                 "[users] vmm_base: the user ids from " + std::to_string(config.vmm_uid_base) +
                     " to " + std::to_string(last_vmm - 1) +
                     " belong to virtual machines and must not hold [users] api or gate");
  }
  check_egress(config, origins, problems);
}

}  // namespace

std::vector<std::string> known_keys() {
  std::vector<std::string> names;
  for (const Key& key : keys()) names.push_back(key.full_name());
  return names;
}

std::string default_path() {
  const char* given = std::getenv("HAKO_CONFIG");
  return given && *given ? given : "/etc/hako/hako.toml";
}

Result<Config> load(const std::string& path, bool must_exist) {
  Config config;
  Origins origins;
  Problems problems;
  auto content = read_file(path, kLargestFile);
  if (content) {
    toml::parse_result parsed = toml::parse(content.value(), std::string_view(path));
    if (!parsed) {
      const toml::parse_error& error = parsed.error();
      return Error(ErrorCode::invalid_argument,
                   path + ":" + std::to_string(error.source().begin.line) +
                       ": not TOML: " + std::string(error.description()));
    }
    apply_file(path, parsed.table(), config, origins, problems);
  } else if (must_exist || content.error().code() != ErrorCode::not_found) {
    return content.error().with_context("configuration");
  }
  apply_environment(config, origins, problems);
  HAKO_TRYV(problems.outcome());
  check_together(config, origins, problems);
  HAKO_TRYV(problems.outcome());
  return config;
}

}  // namespace hako::config
