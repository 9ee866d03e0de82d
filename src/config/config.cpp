#include "config/config.h"

#include <arpa/inet.h>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <variant>

#include "base/fd.h"
#include "config/nearest.h"

namespace hako::config {
namespace {

constexpr size_t kLargestFile = 1 << 20;
constexpr size_t kMostProblemsShown = 10;
constexpr size_t kLongestList = 1000;
/// sun_path holds 108 bytes with its end; the longest socket name under run_dir is behind it.
constexpr size_t kLongestRunDir = 107 - sizeof("/gate-control.sock");

/// A value from the file or the environment; monostate for a kind that no key takes.
using Value = std::variant<std::monostate, int64_t, bool, std::string, std::vector<std::string>>;

/// One setting: where it stands in the file, how it is checked and where it goes.
struct Key {
  const char* section;
  const char* name;
  const char* environment;  ///< variable that overrides the file, or null
  /// Stores a value; otherwise says what was expected.
  std::function<std::optional<std::string>(Config&, const Value&)> set;
  bool is_text;

  std::string full_name() const { return std::string(section) + "." + name; }
};

template <class T>
Key number(const char* section, const char* name, T Config::*member, int64_t least, int64_t most,
           const char* environment = nullptr) {
  auto set = [=](Config& config, const Value& value) -> std::optional<std::string> {
    const int64_t* given = std::get_if<int64_t>(&value);
    if (!given || *given < least || *given > most) {
      return "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
    }
    config.*member = T(*given);
    return std::nullopt;
  };
  return {section, name, environment, set, false};
}

using Check = bool (*)(const std::string&);

Key text(const char* section, const char* name, std::string Config::*member, Check check,
         const char* expected, const char* environment = nullptr) {
  auto set = [=](Config& config, const Value& value) -> std::optional<std::string> {
    const std::string* given = std::get_if<std::string>(&value);
    if (!given || !check(*given)) return expected;
    config.*member = *given;
    return std::nullopt;
  };
  return {section, name, environment, set, true};
}

/// A list of texts, each of which must pass `check`.
Key texts(const char* section, const char* name, std::vector<std::string> Config::*member,
          Check check, const char* expected) {
  auto set = [=](Config& config, const Value& value) -> std::optional<std::string> {
    const auto* given = std::get_if<std::vector<std::string>>(&value);
    bool fits = given && given->size() <= kLongestList;
    if (!fits || !std::all_of(given->begin(), given->end(), check)) return expected;
    config.*member = *given;
    return std::nullopt;
  };
  return {section, name, nullptr, set, false};
}

Key flag(const char* section, const char* name, bool Config::*member) {
  auto set = [=](Config& config, const Value& value) -> std::optional<std::string> {
    const bool* given = std::get_if<bool>(&value);
    if (!given) return "true or false";
    config.*member = *given;
    return std::nullopt;
  };
  return {section, name, nullptr, set, false};
}

bool is_absolute_path(const std::string& text) {
  return text.size() > 1 && text.size() < 4096 && text.front() == '/' && text.back() != '/' &&
         text.find('\0') == std::string::npos && (text + "/").find("/../") == std::string::npos;
}

bool is_path_or_none(const std::string& text) {
  return text.empty() || is_absolute_path(text);
}

bool is_run_dir(const std::string& text) {
  return is_absolute_path(text) && text.size() <= kLongestRunDir;
}

bool is_address(const std::string& text) {
  in6_addr scratch;
  return ::inet_pton(AF_INET, text.c_str(), &scratch) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), &scratch) == 1;
}

bool is_domain(const std::string& text) {
  if (text.empty() || text.size() > 200) return false;
  size_t label = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '.') {
      if (label == 0 || text[i - 1] == '-') return false;
      label = 0;
      continue;
    }
    bool allowed = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && label > 0);
    if (!allowed || ++label > 63) return false;
  }
  return label > 0 && text.back() != '-';
}

/// A domain name, perhaps with a port.
bool is_domain_and_port(const std::string& text) {
  size_t colon = text.find(':');
  if (colon == std::string::npos) return is_domain(text);
  int port = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data() + colon + 1, end, port);
  return error == std::errc() && stop == end && port >= 1 && port <= 65535 &&
         is_domain(text.substr(0, colon));
}

/// The same, with "*." in front of it or without.
bool is_host_pattern(const std::string& text) {
  return is_domain_and_port(text.starts_with("*.") ? text.substr(2) : text);
}

bool is_template_name(const std::string& text) {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !text.empty() && text.size() <= 64 && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), allowed);
}

bool is_kernel_args(const std::string& text) {
  return text.size() <= 512 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool is_accel(const std::string& text) {
  return text == "auto" || text == "kvm" || text == "tcg";
}

bool is_log_level(const std::string& text) {
  return text == "debug" || text == "info" || text == "warn" || text == "error";
}

/// Everything that can be set.
const std::vector<Key>& keys() {
  constexpr const char* kPath = "an absolute path without a slash at the end";
  constexpr const char* kPathOrNone = "an absolute path, or nothing";
  constexpr const char* kRun = "an absolute path of at most 88 bytes without a slash at the end";
  constexpr const char* kAddress = "an IP address";
  constexpr const char* kRegistries = "a list of \"host\" or \"host:port\", in lower case";
  constexpr const char* kName = "a name of a-z, 0-9, '-' and '_'";
  constexpr int64_t kMostUid = std::numeric_limits<int32_t>::max();
  using C = Config;
  static const std::vector<Key> all = {
      text("paths", "state", &C::state_dir, is_absolute_path, kPath, "HAKO_STATE_DIR"),
      text("paths", "run", &C::run_dir, is_run_dir, kRun, "HAKO_RUN_DIR"),
      text("paths", "images", &C::image_dir, is_absolute_path, kPath, "HAKO_IMAGE_DIR"),
      text("api", "address", &C::api_address, is_address, kAddress),
      number("api", "port", &C::api_port, 1, 65535, "HAKO_API_PORT"),
      text("gate", "address", &C::gate_address, is_address, kAddress),
      number("gate", "port", &C::gate_port, 1, 65535, "HAKO_GATE_PORT"),
      text("gate", "domain", &C::domain, is_domain_and_port,
           "a lower-case domain name, with ':' and a port where that is not the usual one"),
      text("gate", "certificate", &C::gate_certificate, is_path_or_none, kPathOrNone),
      text("gate", "key", &C::gate_key, is_path_or_none, kPathOrNone),
      text("engine", "accel", &C::accel, is_accel, "\"auto\", \"kvm\" or \"tcg\""),
      text("engine", "qemu", &C::qemu, is_absolute_path, kPath),
      number("engine", "boot_deadline_ms", &C::boot_deadline, 100, 600'000),
      number("engine", "boot_tries", &C::boot_tries, 1, 10),
      text("engine", "kernel", &C::kernel, is_path_or_none, "an absolute path, or nothing"),
      text("engine", "kernel_args", &C::kernel_args, is_kernel_args,
           "printable characters, at most 512 of them"),
      flag("engine", "allow_emulated_beyond_loopback", &C::allow_emulated_beyond_loopback),
      text("template", "default", &C::default_template, is_template_name, kName),
      number("template", "memory_mib", &C::memory_mib, 64, 1 << 20),
      number("template", "vcpus", &C::vcpus, 1, 256),
      number("template", "disk_mib", &C::disk_mib, 64, 16 << 20),
      texts("template", "registries", &C::registries, is_domain_and_port, kRegistries),
      texts("template", "insecure_registries", &C::insecure_registries, is_domain_and_port,
            kRegistries),
      texts("template", "registry_hosts", &C::registry_hosts, is_host_pattern,
            "a list of \"host\", \"host:port\" or \"*.domain\""),
      number("template", "pull_mib", &C::pull_mib, 1, 16 << 20),
      text("template", "skopeo", &C::skopeo, is_absolute_path, kPath),
      number("pool", "size", &C::pool_size, 0, 4096, "HAKO_POOL_SIZE"),
      number("limits", "boxes", &C::max_boxes, 1, 4096),
      number("limits", "memory_mib", &C::max_memory_mib, 64, 1 << 20),
      number("limits", "vcpus", &C::max_vcpus, 1, 256),
      number("limits", "ttl_seconds", &C::max_ttl, 1, 366 * 24 * 3600),
      number("limits", "min_free_disk_mib", &C::min_free_disk_mib, 0, 16 << 20),
      number("limits", "min_free_memory_mib", &C::min_free_memory_mib, 0, 16 << 20),
      number("users", "api", &C::api_uid, 1, kMostUid),
      number("users", "gate", &C::gate_uid, 1, kMostUid),
      number("users", "vmm_base", &C::vmm_uid_base, 1, kMostUid - 4096),
      number("metrics", "interval_seconds", &C::metrics_interval, 0, 24 * 3600),
      text("log", "level", &C::log_level, is_log_level,
           "\"debug\", \"info\", \"warn\" or \"error\""),
  };
  return all;
}

const Key* find_key(std::string_view section, std::string_view name) {
  for (const Key& key : keys()) {
    if (key.section == section && key.name == name) return &key;
  }
  return nullptr;
}

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
    std::vector<std::string> texts;
    for (const toml::node& each : *array) {
      if (!each.is_string()) return std::monostate();
      texts.push_back(each.value<std::string>().value());
    }
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
    if (auto expected = key->set(config, value_of(node))) {
      problems.add(where, "[" + section + "] " + name + ": expected " + *expected + ", found " +
                              describe(node));
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
    if (auto expected = key.set(config, value)) {
      problems.add(where,
                   "expected " + *expected + ", found \"" + std::string(raw.substr(0, 60)) + "\"");
    }
    origins[key.full_name()] = where;
  }
}

/// What no single key can get wrong.
void check_together(const Config& config, const Origins& origins, Problems& problems) {
  auto origin = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (auto found = origins.find(name); found != origins.end()) return found->second;
    }
    return std::string("defaults");
  };
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
  if (config.gate_certificate.empty() != config.gate_key.empty()) {
    problems.add(origin({"gate.certificate", "gate.key"}),
                 "[gate] certificate and key belong together: set both or none");
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
