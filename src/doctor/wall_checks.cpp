// What the walls around boxes stand on, and whether those that stand now are whole.
#include <sys/stat.h>

#include <charconv>
#include <sstream>

#include "base/fd.h"
#include "doctor/sources.h"

namespace hako::doctor {
namespace {

/// Beside those of the boxes: clones that are kept ready, templates that are built.
constexpr uint32_t kSpareUids = 4096;

struct UidRange {
  uint32_t first = 0, count = 0;
  std::string use;
  bool meets(uint64_t other, uint64_t other_count) const {
    return other < uint64_t(first) + count && first < other + other_count;
  }
};

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, ':');) fields.push_back(field);
  return fields;
}

std::optional<uint64_t> number_in(const std::vector<std::string>& fields, size_t at) {
  if (at >= fields.size()) return std::nullopt;
  uint64_t value = 0;
  const std::string& text = fields[at];
  auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (wrong != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Who else than `owner` may change `path`, or move it: itself and all folders above it.
std::string open_part_of(const std::string& path, unsigned owner) {
  std::string part;
  std::istringstream names(path);
  for (std::string name; std::getline(names, name, '/');) {
    if (!name.empty()) part += "/" + name;
    struct stat info {};
    if (part.empty() || ::stat(part.c_str(), &info) < 0) continue;
    bool sticky = info.st_mode & S_ISVTX;
    bool foreign = info.st_uid != owner && info.st_uid != 0;
    if (foreign || (info.st_mode & 0022 && !sticky)) return part;
  }
  return "";
}

}  // namespace

Check check_seccomp(const Sources& sources) {
  const char* title = "System call filters (seccomp)";
  auto actions = read_text(sources, "/proc/sys/kernel/seccomp/actions_avail");
  if (!actions)
    return failed("seccomp", title, "not in this kernel: no virtual machine is started without",
                  "use a kernel with CONFIG_SECCOMP_FILTER, as all of Debian's are");
  for (const char* wanted : {"kill_process", "errno"}) {
    if (actions->find(wanted) == std::string::npos)
      return failed("seccomp", title, std::string("without the action ") + wanted,
                    "use Linux 5.12 or later");
  }
  return passed("seccomp", title, "there");
}

Check check_uids(const config::Config& config, const Sources& sources) {
  const char* title = "Users of virtual machines and daemons";
  std::vector<UidRange> ours = {
      {config.api_uid, 1, "[users] api"},
      {config.gate_uid, 1, "[users] gate"},
      {config.vmm_uid_base, uint32_t(config.max_boxes) + kSpareUids, "[users] vmm_base"}};
  struct File {
    const char* path;
    size_t first, count;  ///< which field
  };
  // In passwd each line is of one, whose number is the third field.
  for (const File& file : {File{"/etc/passwd", 2, 0}, File{"/etc/subuid", 1, 2}}) {
    auto text = read_text(sources, file.path);
    std::istringstream lines(text.value_or(""));
    for (std::string line; std::getline(lines, line);) {
      auto fields = fields_of(line);
      auto first = number_in(fields, file.first);
      auto count = file.count == 0 ? uint64_t{1} : number_in(fields, file.count).value_or(0);
      if (!first || count == 0) continue;
      for (const UidRange& range : ours) {
        if (!range.meets(*first, count)) continue;
        return warned("uids", title,
                      range.use + " is also " + fields[0] + "'s, by " + file.path +
                          ": it could end and look into what runs as that user",
                      "set " + range.use + " to numbers that nobody has, before the first start");
      }
    }
  }
  return passed("uids", title, "nobody else's");
}

Check check_paths(const config::Config& config, const Sources& sources) {
  const char* title = "Owner of hako's folders";
  for (const std::string& path :
       {config.state_dir, config.run_dir, config.image_dir, config.qemu, config.skopeo}) {
    std::string open = open_part_of(path, sources.owner);
    if (open.empty()) continue;
    return warned("paths", title,
                  open + " can be changed by someone else than root, who trusts what is in " + path,
                  "chown root:root " + open + " && chmod go-w " + open);
  }
  return passed("paths", title, "only root can change them");
}

Check check_egress_walls(const config::Config& config, const Sources& sources) {
  const char* title = "Walls around the networks of boxes";
  if (sources.user != 0) return skipped("egress", title, "only root can look at them");
  auto walls = sources.slot_walls(config.run_dir + "/netns");
  if (!walls) return skipped("egress", title, walls.error().message());
  if (walls.value().slots == 0) return passed("egress", title, "no box runs");
  std::string of = " of " + std::to_string(walls.value().slots);
  if (walls.value().broken.empty()) return passed("egress", title, "whole in all" + of);
  return failed("egress", title,
                std::to_string(walls.value().broken.size()) + of +
                    " are not what they should be: " + walls.value().broken.front(),
                "hako restart: the node puts right what it takes over; hako kill what is not");
}

Check check_skopeo(const config::Config& config, const Sources& sources) {
  const char* title = "Program that pulls images (skopeo)";
  if (config.registries.empty() && config.insecure_registries.empty())
    return passed("skopeo", title, "not needed: [template] registries names none");
  auto version = sources.version_of(config.skopeo);
  if (version)
    return passed("skopeo", title, version.value().substr(0, version.value().find(';')));
  return warned("skopeo", title, config.skopeo + ": " + version.error().message(),
                "apt-get install skopeo, or set [template] skopeo");
}

}  // namespace hako::doctor
