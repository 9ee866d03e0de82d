#include "config/keys.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "config/kinds.h"

namespace hako::config {
namespace {

constexpr size_t kMostHosts = 1000;
/// sun_path holds 108 bytes with its end; the longest socket name under run_dir is behind it.
constexpr size_t kLongestRunDir = 107 - sizeof("/gate-control.sock");

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

std::optional<std::string> host_and_port(const std::string& text) {
  if (!is_domain_and_port(text)) return std::nullopt;
  return text;
}

/// The same, with "*." in front of it or without.
std::optional<std::string> host_pattern(const std::string& text) {
  if (!is_domain_and_port(text.starts_with("*.") ? text.substr(2) : text)) return std::nullopt;
  return text;
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

bool is_command(const std::string& text) {
  return text.size() <= 1024 && std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
  });
}

bool is_accel(const std::string& text) {
  return text == "auto" || text == "kvm" || text == "tcg";
}

bool is_log_level(const std::string& text) {
  return text == "debug" || text == "info" || text == "warn" || text == "error";
}

bool is_command_lines(const std::string& text) {
  return text == "full" || text == "program";
}

std::vector<Key> all_keys() {
  constexpr const char* kPath = "an absolute path without a slash at the end";
  constexpr const char* kPathOrNone = "an absolute path, or nothing";
  constexpr const char* kRun = "an absolute path of at most 88 bytes without a slash at the end";
  constexpr const char* kAddress = "an IP address";
  constexpr const char* kRegistry = "\"host\" or \"host:port\", in lower case";
  constexpr const char* kName = "a name of a-z, 0-9, '-' and '_'";
  constexpr int64_t kMostUid = std::numeric_limits<int32_t>::max();
  using C = Config;
  std::vector<Key> all = {
      text("paths", "state", &C::state_dir, is_absolute_path, kPath, "HAKO_STATE_DIR"),
      text("paths", "run", &C::run_dir, is_run_dir, kRun, "HAKO_RUN_DIR"),
      text("paths", "images", &C::image_dir, is_absolute_path, kPath, "HAKO_IMAGE_DIR"),
      text("api", "address", &C::api_address, is_address, kAddress),
      number("api", "port", &C::api_port, 1, 65535, "HAKO_API_PORT"),
      text("api", "certificate", &C::api_certificate, is_path_or_none, kPathOrNone),
      text("api", "key", &C::api_certificate_key, is_path_or_none, kPathOrNone),
      flag("api", "allow_plain_beyond_loopback", &C::allow_plain_api_beyond_loopback),
      text("gate", "address", &C::gate_address, is_address, kAddress),
      number("gate", "port", &C::gate_port, 1, 65535, "HAKO_GATE_PORT"),
      text("gate", "domain", &C::domain, is_domain_and_port,
           "a lower-case domain name, with ':' and a port where that is not the usual one"),
      text("gate", "certificate", &C::gate_certificate, is_path_or_none, kPathOrNone),
      text("gate", "key", &C::gate_key, is_path_or_none, kPathOrNone),
      flag("gate", "allow_plain_beyond_loopback", &C::allow_plain_gate_beyond_loopback),
      text("gate", "upstream_ca_file", &C::upstream_ca_file, is_absolute_path, kPath),
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
      list("template", "registries", &C::registries, host_and_port, kMostHosts, kRegistry),
      list("template", "insecure_registries", &C::insecure_registries, host_and_port, kMostHosts,
           kRegistry),
      list("template", "registry_hosts", &C::registry_hosts, host_pattern, kMostHosts,
           "\"host\", \"host:port\" or \"*.domain\", in lower case"),
      number("template", "pull_mib", &C::pull_mib, 1, 16 << 20),
      number("template", "build_minutes", &C::build_minutes, 1, 7 * 24 * 60),
      text("template", "skopeo", &C::skopeo, is_absolute_path, kPath),
      text("checkpoints", "key_file", &C::checkpoint_key_file, is_path_or_none, kPathOrNone),
      text("secrets", "master_key_file", &C::master_key_file, is_path_or_none, kPathOrNone),
      text("secrets", "master_key_command", &C::master_key_command, is_command,
           "a command for /bin/sh, on one line of at most 1024 bytes"),
      number("pool", "size", &C::pool_size, 0, 4096, "HAKO_POOL_SIZE"),
      flag("fairness", "cpu_shares", &C::cpu_shares),
      number("fairness", "creates_at_once", &C::creates_at_once, 1, 4096),
      number("fairness", "creates_waiting", &C::creates_waiting, 0, 4096),
      number("fairness", "calls_at_once", &C::calls_at_once, 1, 512),
      number("fairness", "calls_per_second", &C::calls_per_second, 0, 100'000),
      number("fairness", "pool_kept", &C::pool_kept, 0, 4096),
      number("limits", "boxes", &C::max_boxes, 1, 4096),
      number("limits", "memory_mib", &C::max_memory_mib, 64, 1 << 20),
      number("limits", "vcpus", &C::max_vcpus, 1, 256),
      number("limits", "ttl_seconds", &C::max_ttl, 1, 366 * 24 * 3600),
      number("limits", "min_free_disk_mib", &C::min_free_disk_mib, 0, 16 << 20),
      number("limits", "min_free_memory_mib", &C::min_free_memory_mib, 0, 16 << 20),
      number("limits", "spare_cpu_percent", &C::spare_cpu_percent, 0, 100'000),
      number("limits", "spare_memory_mib", &C::spare_memory_mib, 0, 1 << 20),
      number("limits", "boxes_memory_percent", &C::boxes_memory_percent, 0, 100),
      number("limits", "threads", &C::vmm_threads, 0, 1 << 20),
      number("limits", "disk_mib_per_second", &C::disk_mib_per_second, 0, 1 << 20),
      number("limits", "disk_operations_per_second", &C::disk_operations_per_second, 0, 100'000'000),
      number("limits", "network_mib_per_second", &C::network_mib_per_second, 0, 2048),
      number("limits", "packets_per_second", &C::packets_per_second, 0, 100'000'000),
      number("limits", "connects_per_second", &C::connects_per_second, 0, 1'000'000),
      number("limits", "names_per_second", &C::names_per_second, 0, 1'000'000),
      text("models", "file", &C::models_file, is_path_or_none, kPathOrNone),
      number("users", "api", &C::api_uid, 1, kMostUid),
      number("users", "gate", &C::gate_uid, 1, kMostUid),
      number("users", "vmm_base", &C::vmm_uid_base, 1, kMostUid - 4096),
      number("metrics", "interval_seconds", &C::metrics_interval, 0, 24 * 3600),
      text("log", "level", &C::log_level, is_log_level,
           "\"debug\", \"info\", \"warn\" or \"error\""),
      number("audit", "segment_mib", &C::audit_segment_mib, 1, 1 << 20),
      number("audit", "keep_segments", &C::audit_keep_segments, 0, 1 << 20),
      number("audit", "keep_days", &C::audit_keep, 0, 100 * 366),
      number("audit", "sign_every_s", &C::audit_sign_every, 1, 3600),
      number("audit", "tenant_mib_per_day", &C::audit_tenant_mib_per_day, 0, 1 << 20),
      text("audit", "command_lines", &C::audit_command_lines, is_command_lines,
           "\"full\" or \"program\""),
  };
  std::vector<Key> egress = egress_keys();
  all.insert(all.end(), egress.begin(), egress.end());
  return all;
}

}  // namespace

const std::vector<Key>& keys() {
  static const std::vector<Key> all = all_keys();
  return all;
}

const Key* find_key(std::string_view section, std::string_view name) {
  for (const Key& key : keys()) {
    if (key.section == section && key.name == name) return &key;
  }
  return nullptr;
}

}  // namespace hako::config

