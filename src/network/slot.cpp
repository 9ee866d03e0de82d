#include "network/slot.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "base/folder.h"
#include "network/egress.h"
#include "network/interior.h"
#include "network/namespace.h"

namespace hako::network {
namespace {

constexpr std::string_view kPrefix = "slot-";
constexpr int kMostSockets = 4096;

std::string path_of(const std::string& directory, int number) {
  return directory + "/" + std::string(kPrefix) + std::to_string(number);
}

Result<std::vector<Fd>> make_sockets(int count) {
  std::vector<Fd> sockets;
  for (int i = 0; i < count; ++i) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!socket) return Error::from_errno(errno, "open socket in slot");
    int on = 1;
    if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
      return Error::from_errno(errno, "set TCP_NODELAY");
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

Error about(const Error& error, int number) {
  return error.with_context("slot " + std::to_string(number));
}

}  // namespace

Result<Slot> create_slot(const std::string& directory, int number, const SlotLimits& limits) {
  if (number < 0) return Error(ErrorCode::invalid_argument, "slot numbers start at 0");
  HAKO_TRYV(prepare_directory(directory));
  // The namespace gets its name last: a slot that has one is whole, and one that was interrupted
  // has gone with its thread.
  auto netns = in_new_namespace([&limits]() -> Result<Fd> {
    HAKO_TRYV(furnish_namespace(limits));
    return current_namespace();
  });
  if (!netns) return about(netns.error(), number);
  HAKO_TRYV(bind_namespace(netns.value().get(), path_of(directory, number)));
  return Slot{number, std::move(netns.value())};
}

Result<Slot> open_slot(const std::string& directory, int number, const SlotLimits& limits) {
  HAKO_TRY(auto netns, open_namespace(path_of(directory, number)));
  auto mended = in_namespace(netns.get(), [&limits] { return mend_namespace(limits); });
  if (!mended) return about(mended.error(), number);
  return Slot{number, std::move(netns)};
}

Result<void> destroy_slot(const std::string& directory, int number) {
  return unbind_namespace(path_of(directory, number));
}

Result<std::vector<int>> list_slots(const std::string& directory) {
  std::vector<int> numbers;
  std::error_code failure;
  auto entries = entries_of(directory, failure);
  if (failure == std::errc::no_such_file_or_directory) return numbers;
  if (failure) return Error::from_errno(failure.value(), "list " + directory);
  for (const auto& entry : entries) {
    std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    int number = -1;
    const char* last = name.data() + name.size();
    auto [end, error] = std::from_chars(name.data() + kPrefix.size(), last, number);
    // Leftovers without a namespace are listed too: their owner destroys them the same way.
    if (error == std::errc() && end == last && number >= 0) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<void> release_slots(const std::string& directory) {
  return release_directory(directory);
}

Result<Fd> open_tap(const Slot& slot) {
  auto tap = in_namespace(slot.netns.get(), attach_tap);
  if (!tap) return about(tap.error(), slot.number);
  return tap;
}

Result<std::vector<Fd>> open_sockets(const Slot& slot, int count) {
  if (count < 0 || count > kMostSockets)
    return Error(ErrorCode::invalid_argument, "too many sockets at once");
  return in_namespace(slot.netns.get(), [count] { return make_sockets(count); });
}

Result<EgressSockets> open_egress(const Slot& slot) {
  auto sockets = in_namespace(slot.netns.get(), make_egress_sockets);
  if (!sockets) return about(sockets.error(), slot.number);
  return sockets;
}

Result<Fd> empty_namespace(const std::string& path) {
  auto existing = open_namespace(path);
  if (existing || existing.error().code() != ErrorCode::not_found) return existing;
  // Its folder may hold slots as well: were it mounted over later, this one would be lost below.
  HAKO_TRYV(prepare_directory(std::filesystem::path(path).parent_path()));
  HAKO_TRY(auto netns, in_new_namespace(current_namespace));
  auto bound = bind_namespace(netns.get(), path);
  // Somebody else was quicker: theirs is as empty.
  if (!bound && bound.error().code() == ErrorCode::already_exists) return open_namespace(path);
  if (!bound) return bound.error();
  return netns;
}

Result<void> remove_empty_namespace(const std::string& path) {
  return unbind_namespace(path);
}

Result<SlotInspection> inspect_slot(const Slot& slot, const SlotLimits& limits) {
  return in_namespace(slot.netns.get(), [&limits] { return inspect_namespace(limits); });
}

}  // namespace hako::network
