#include "jail/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <thread>

#include "base/folder.h"

namespace hako::jail {
namespace {

namespace fs = std::filesystem;

/// A process that has just ended may keep its group busy for a moment.
constexpr int kRemoveTries = 50;
constexpr auto kRemoveAgain = std::chrono::milliseconds(10);
constexpr size_t kLongestName = 255;
constexpr int64_t kCpuPeriodUs = 100'000;

std::vector<std::string> split(std::string_view text, char between) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    size_t end = std::min(text.find(between), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool has(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

/// Nothing in it leads out of the tree or is taken for a file of the kernel's.
Result<void> check_group(std::string_view group) {
  for (const std::string& part : split(group, '/')) {
    bool fine = part.size() <= kLongestName && part.front() != '.' &&
                std::all_of(part.begin(), part.end(), [](char c) {
                  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                         c == '.';
                });
    if (!fine) return Error(ErrorCode::invalid_argument, "not a name for a control group");
  }
  return ok();
}

Result<void> write_setting(const std::string& path, std::string_view value) {
  HAKO_TRY(auto file, open_file(path, O_WRONLY));
  // Not write_all(): the kernel takes the whole value in one call or refuses it.
  if (::write(file.get(), value.data(), value.size()) < 0)
    return Error::from_errno(errno, "write \"" + std::string(value) + "\" to " + path);
  return ok();
}

Result<void> make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST)
    return Error::from_errno(errno, "make control group " + path);
  return ok();
}

/// A kernel that counts no swap has no file for it, and nothing to keep back.
bool may_be_missing(std::string_view file) {
  return file == "memory.swap.max" || file == "memory.memsw.limit_in_bytes";
}

int64_t number_in(const std::string& path) {
  auto text = read_file(path);
  int64_t number = 0;
  if (text) std::from_chars(text.value().data(), text.value().data() + text.value().size(), number);
  return number;
}

/// The value of `name` in a file of lines "name value"; 0 if it is not there.
int64_t field_in(const std::string& path, const std::string& name) {
  auto text = read_file(path);
  if (!text) return 0;
  for (const std::string& line : split(text.value(), '\n')) {
    auto words = split(line, ' ');
    int64_t number = 0;
    if (words.size() != 2 || words[0] != name) continue;
    std::from_chars(words[1].data(), words[1].data() + words[1].size(), number);
    return number;
  }
  return 0;
}

/// On v2 a group has the controllers that the one above it passes on.
Result<void> pass_on(const CgroupHierarchy& hierarchy, const std::string& above) {
  if (!hierarchy.v2) return ok();
  std::string all;
  for (const std::string& controller : hierarchy.controllers) {
    all += (all.empty() ? "+" : " +") + controller;
  }
  return write_setting(above + "/cgroup.subtree_control", all);
}

Result<void> remove_folder(const std::string& path) {
  for (int attempt = 0;; ++attempt) {
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return ok();
    int error = errno;
    if (error != EBUSY) return Error::from_errno(error, "remove control group " + path);
    auto members = read_file(path + "/cgroup.procs");
    bool empty = members && members.value().empty();
    if (!empty || attempt == kRemoveTries)
      return Error(ErrorCode::failed_precondition, "there are processes in " + path);
    std::this_thread::sleep_for(kRemoveAgain);
  }
}

Result<void> remove_tree(const std::string& path) {
  Result<void> outcome = ok();
  std::error_code error;
  std::vector<std::string> inner;
  for (const auto& entry : entries_of(path, error)) {
    std::error_code unknown;
    if (entry.is_directory(unknown)) inner.push_back(entry.path());
  }
  for (const std::string& each : inner) {
    auto removed = remove_tree(each);
    if (!removed) outcome = removed;
  }
  if (!outcome) return outcome;
  return remove_folder(path);
}

}  // namespace

std::vector<CgroupHierarchy> find_hierarchies(
    std::string_view mountinfo, const std::vector<std::string>& wanted,
    const std::map<std::string, std::string>& v2_controllers) {
  std::vector<CgroupHierarchy> found;
  std::vector<std::string> missing = wanted;
  auto take = [&](const std::string& mount, bool v2, const std::vector<std::string>& there) {
    CgroupHierarchy hierarchy{mount, v2, {}};
    for (const std::string& controller : wanted) {
      if (has(there, controller) && std::erase(missing, controller) > 0)
        hierarchy.controllers.push_back(controller);
    }
    if (!hierarchy.controllers.empty()) found.push_back(std::move(hierarchy));
  };
  for (const std::string& line : split(mountinfo, '\n')) {
    size_t middle = line.find(" - ");
    if (middle == std::string::npos) continue;
    auto first = split(std::string_view(line).substr(0, middle), ' ');
    auto second = split(std::string_view(line).substr(middle + 3), ' ');
    // Blanks in a path stand there as \040; nobody mounts control groups at such a place.
    if (first.size() < 6 || second.size() < 3 || first[4].find('\\') != std::string::npos) continue;
    if (second[0] == "cgroup") {
      auto there = split(second[2], ',');
      std::replace(there.begin(), there.end(), std::string("blkio"), std::string("io"));
      take(first[4], false, there);
    }
    if (second[0] != "cgroup2") continue;
    auto controllers = v2_controllers.find(first[4]);
    if (controllers == v2_controllers.end()) continue;
    std::string words = controllers->second;
    std::replace(words.begin(), words.end(), '\n', ' ');
    take(first[4], true, split(words, ' '));
  }
  return found;
}

std::vector<std::pair<std::string, std::string>> cgroup_settings(const CgroupHierarchy& hierarchy,
                                                                 const CgroupLimits& limits) {
  std::vector<std::pair<std::string, std::string>> settings;
  auto set = [&](const char* controller, const char* v1, const char* v2, int64_t value) {
    if (has(hierarchy.controllers, controller))
      settings.emplace_back(hierarchy.v2 ? v2 : v1, std::to_string(value));
  };
  if (limits.cpu_weight) {
    int64_t weight = std::clamp(*limits.cpu_weight, 1, 10'000);
    // 1024 is to v1 what 100 is to v2; the kernel takes no less than 2.
    set("cpu", "cpu.shares", "cpu.weight",
        hierarchy.v2 ? weight : std::max<int64_t>(2, weight * 1024 / 100));
  }
  if (limits.cpu_percent && has(hierarchy.controllers, "cpu")) {
    std::string quota = std::to_string(int64_t{*limits.cpu_percent} * kCpuPeriodUs / 100);
    std::string period = std::to_string(kCpuPeriodUs);
    if (!hierarchy.v2) settings.emplace_back("cpu.cfs_period_us", period);
    settings.emplace_back(hierarchy.v2 ? "cpu.max" : "cpu.cfs_quota_us",
                          hierarchy.v2 ? quota + " " + period : quota);
  }
  if (limits.memory_bytes)
    set("memory", "memory.limit_in_bytes", "memory.max", *limits.memory_bytes);
  // v1 counts memory and swap together there.
  if (limits.memory_bytes && limits.no_swap)
    set("memory", "memory.memsw.limit_in_bytes", "memory.swap.max",
        hierarchy.v2 ? 0 : *limits.memory_bytes);
  if (limits.pids) set("pids", "pids.max", "pids.max", *limits.pids);
  if (limits.io && has(hierarchy.controllers, "io")) {
    const CgroupLimits::Io& io = *limits.io;
    if (hierarchy.v2) {
      auto rate = [](int64_t value) { return value > 0 ? std::to_string(value) : "max"; };
      std::string bytes = rate(io.bytes_per_second), operations = rate(io.operations_per_second);
      settings.emplace_back("io.max", io.device + " rbps=" + bytes + " wbps=" + bytes +
                                          " riops=" + operations + " wiops=" + operations);
    } else {
      for (const char* way : {"read", "write"}) {
        std::string file = std::string("blkio.throttle.") + way;
        settings.emplace_back(file + "_bps_device",
                              io.device + " " + std::to_string(io.bytes_per_second));
        settings.emplace_back(file + "_iops_device",
                              io.device + " " + std::to_string(io.operations_per_second));
      }
    }
  }
  return settings;
}

Result<CgroupTree> CgroupTree::open(std::string name, const std::vector<std::string>& wanted) {
  HAKO_TRYV(check_group(name));
  HAKO_TRY(auto mountinfo, read_file("/proc/self/mountinfo", 16 << 20));
  std::map<std::string, std::string> v2_controllers;
  for (const std::string& line : split(mountinfo, '\n')) {
    auto fields = split(line, ' ');
    if (line.find(" - cgroup2 ") == std::string::npos || fields.size() < 6) continue;
    if (auto text = read_file(fields[4] + "/cgroup.controllers"))
      v2_controllers[fields[4]] = text.value();
  }
  auto hierarchies = find_hierarchies(mountinfo, wanted, v2_controllers);
  if (hierarchies.empty()) {
    std::string all;
    for (const std::string& controller : wanted) all += (all.empty() ? "" : ", ") + controller;
    return Error(ErrorCode::unsupported,
                 "no control groups with the controllers " + all + " are mounted");
  }
  return CgroupTree(std::move(name), std::move(hierarchies));
}

std::optional<CgroupTree> CgroupTree::only(const std::string& controller) const {
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    if (has(hierarchy.controllers, controller)) return CgroupTree(name_, {hierarchy});
  }
  return std::nullopt;
}

std::string CgroupTree::folder(const CgroupHierarchy& hierarchy, const std::string& group) const {
  return hierarchy.mount + "/" + name_ + (group.empty() ? "" : "/" + group);
}

Result<void> CgroupTree::make(const std::string& group, const CgroupLimits& limits) {
  HAKO_TRYV(check_group(group));
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    std::string path = hierarchy.mount;
    for (const std::string& part : split(name_ + "/" + group, '/')) {
      HAKO_TRYV(pass_on(hierarchy, path));
      path += "/" + part;
      HAKO_TRYV(make_folder(path));
    }
    for (const auto& [file, value] : cgroup_settings(hierarchy, limits)) {
      auto written = write_setting(path + "/" + file, value);
      bool missing = !written && written.error().code() == ErrorCode::not_found;
      if (!written && !(missing && may_be_missing(file))) return written;
    }
  }
  return ok();
}

Result<void> CgroupTree::add(const std::string& group, pid_t pid) {
  HAKO_TRYV(check_group(group));
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    std::string procs = folder(hierarchy, group) + "/cgroup.procs";
    // To be told to go where it is already costs a process, and all others, as much as a move.
    auto there = read_file(procs);
    if (there && has(split(there.value(), '\n'), std::to_string(pid))) continue;
    HAKO_TRYV(write_setting(procs, std::to_string(pid)));
  }
  return ok();
}

Result<std::vector<Fd>> CgroupTree::doors(const std::string& group) {
  HAKO_TRYV(check_group(group));
  std::vector<Fd> doors;
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    // v1 moves a lone thread without waiting for all other processors.
    const char* file = hierarchy.v2 ? "/cgroup.procs" : "/tasks";
    HAKO_TRY(auto door, open_file(folder(hierarchy, group) + file, O_WRONLY));
    doors.push_back(std::move(door));
  }
  return doors;
}

std::vector<std::string> CgroupTree::below(const std::string& group) const {
  std::vector<std::string> names;
  if (!check_group(group)) return names;
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    std::error_code error;
    for (const auto& entry : entries_of(folder(hierarchy, group), error)) {
      std::error_code unknown;
      std::string name = entry.path().filename();
      if (entry.is_directory(unknown) && !has(names, name)) names.push_back(std::move(name));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool CgroupTree::exists(const std::string& group) const {
  if (!check_group(group)) return false;
  return std::any_of(hierarchies_.begin(), hierarchies_.end(), [&](const auto& hierarchy) {
    std::error_code error;
    return fs::exists(folder(hierarchy, group), error);
  });
}

MemoryUse CgroupTree::memory_use(const std::string& group) const {
  MemoryUse use;
  if (!check_group(group)) return use;
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    if (!has(hierarchy.controllers, "memory")) continue;
    std::string at = folder(hierarchy, group) + "/memory.";
    use.limit_bytes = number_in(at + (hierarchy.v2 ? "max" : "limit_in_bytes"));
    use.most_bytes = number_in(at + (hierarchy.v2 ? "peak" : "max_usage_in_bytes"));
    use.oom_kills = field_in(at + (hierarchy.v2 ? "events" : "oom_control"), "oom_kill");
  }
  return use;
}

std::vector<pid_t> CgroupTree::members(const std::string& group) const {
  std::vector<pid_t> pids;
  if (!check_group(group)) return pids;
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    auto text = read_file(folder(hierarchy, group) + "/cgroup.procs");
    if (!text) continue;
    for (const std::string& line : split(text.value(), '\n')) {
      pid_t pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (pid > 0 && std::find(pids.begin(), pids.end(), pid) == pids.end()) pids.push_back(pid);
    }
  }
  return pids;
}

Result<void> CgroupTree::remove(const std::string& group) {
  HAKO_TRYV(check_group(group));
  Result<void> outcome = ok();
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    std::error_code error;
    std::string path = folder(hierarchy, group);
    if (!fs::exists(path, error)) continue;
    auto removed = remove_tree(path);
    if (!removed) outcome = removed;
  }
  return outcome;
}

Result<void> CgroupTree::remove_all() {
  HAKO_TRYV(remove(""));
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    for (fs::path above = fs::path(name_).parent_path(); !above.empty();
         above = above.parent_path()) {
      // Not empty: another's tree is there.
      if (::rmdir((hierarchy.mount + "/" + above.string()).c_str()) < 0) break;
    }
  }
  return ok();
}

std::string CgroupTree::describe() const {
  std::string text;
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    for (const std::string& controller : hierarchy.controllers) {
      text += (text.empty() ? "" : ", ") + controller + (hierarchy.v2 ? " (v2)" : " (v1)");
    }
  }
  return text;
}

}  // namespace hako::jail
