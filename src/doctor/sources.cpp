#include "doctor/sources.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <charconv>

#include "base/fd.h"
#include "engine/host_facts.h"
#include "network/slot.h"

namespace hako::doctor {

std::optional<std::string> read_text(const Sources& sources, const std::string& path) {
  auto text = read_file(sources.root + path, 4 << 20);
  if (!text) return std::nullopt;
  while (text.value().ends_with('\n')) text.value().pop_back();
  return std::move(text.value());
}

std::optional<int64_t> read_number(const Sources& sources, const std::string& path) {
  auto text = read_text(sources, path);
  if (!text) return std::nullopt;
  int64_t value = 0;
  auto [end, wrong] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (wrong != std::errc{} || end == text->data()) return std::nullopt;
  return value;
}

Check passed(std::string id, std::string title, std::string detail) {
  return {std::move(id), std::move(title), Status::ok, std::move(detail), ""};
}
Check warned(std::string id, std::string title, std::string detail, std::string fix) {
  return {std::move(id), std::move(title), Status::warn, std::move(detail), std::move(fix)};
}
Check failed(std::string id, std::string title, std::string detail, std::string fix) {
  return {std::move(id), std::move(title), Status::fail, std::move(detail), std::move(fix)};
}
Check skipped(std::string id, std::string title, std::string detail) {
  return {std::move(id), std::move(title), Status::skip, std::move(detail), ""};
}

namespace {

Task<void> keep_version(std::string binary, std::optional<Result<std::string>>& version) {
  version.emplace(co_await engine::read_vmm_build(std::move(binary)));
}

Result<std::string> ask_version(const std::string& binary) {
  asio::io_context loop(1);
  std::optional<Result<std::string>> version;
  // A fault leaves no version, which is told below.
  asio::co_spawn(loop, keep_version(binary, version), [](std::exception_ptr) {});
  loop.run();
  if (!version) return Error(ErrorCode::internal, "asking for its version failed");
  return std::move(*version);
}

/// Looked at only: opening a slot as the node does would put it right.
Result<SlotWalls> look_at_slots(const std::string& directory) {
  SlotWalls walls;
  HAKO_TRY(auto numbers, network::list_slots(directory));
  for (int number : numbers) {
    std::string name = "slot-" + std::to_string(number);
    network::Slot slot;
    slot.number = number;
    auto opened = open_file(directory + "/" + name, O_RDONLY);
    if (!opened) continue;  // it has just ended
    // What an interrupted start has left is no namespace, and nothing runs in it.
    struct statfs kind {};
    if (::fstatfs(opened.value().get(), &kind) < 0 || kind.f_type != NSFS_MAGIC) continue;
    slot.netns = std::move(opened.value());
    auto seen = network::inspect_slot(slot);
    ++walls.slots;
    if (!seen) {
      walls.broken.push_back(name + ": " + seen.error().message());
    } else if (!seen.value().firewall_is_whole || !seen.value().forwarded_is_dropped) {
      walls.broken.push_back(name + " has other rules than those of this version");
    } else if (seen.value().forwarding || !seen.value().everything_is_local) {
      walls.broken.push_back(name + " passes packets on");
    } else if (seen.value().interfaces.size() > 2 || seen.value().routes.size() > 1) {
      walls.broken.push_back(name + " has an interface or a route too many");
    }
  }
  return walls;
}

}  // namespace

Sources this_machine(std::string program_directory) {
  Sources sources;
  sources.probe_kvm = [] { return engine::probe_kvm(); };
  sources.version_of = ask_version;
  sources.slot_walls = look_at_slots;
  sources.program_directory = std::move(program_directory);
  sources.user = ::geteuid();
  return sources;
}

}  // namespace hako::doctor
