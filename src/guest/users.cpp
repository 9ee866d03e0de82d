#include "guest/users.h"

#include <array>
#include <charconv>

#include "base/fd.h"

namespace hako::guest {
namespace {

constexpr size_t kLargestFile = 4 << 20;

/// Calls `use` with the colon-separated fields of each line that has at least N.
template <size_t N, class Use>
void for_each_line(std::string_view text, Use use) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    std::array<std::string_view, N> fields;
    size_t count = 0;
    while (count < N) {
      size_t colon = line.find(':');
      fields[count++] = line.substr(0, colon);
      if (colon == std::string_view::npos) break;
      line.remove_prefix(colon + 1);
    }
    if (count == N && !fields[0].empty() && fields[0][0] != '#') use(fields);
  }
}

bool parse_id(std::string_view text, uint32_t& id) {
  auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), id);
  // The highest value means "leave unchanged" to setresuid(2): a user must not have it.
  return problem == std::errc() && stop == text.data() + text.size() && id != UINT32_MAX;
}

}  // namespace

std::vector<User> parse_passwd(std::string_view text) {
  std::vector<User> users;
  for_each_line<7>(text, [&](const std::array<std::string_view, 7>& fields) {
    User user{std::string(fields[0]), 0, 0, std::string(fields[5]), std::string(fields[6])};
    if (parse_id(fields[2], user.uid) && parse_id(fields[3], user.gid))
      users.push_back(std::move(user));
  });
  return users;
}

std::vector<Group> parse_group(std::string_view text) {
  std::vector<Group> groups;
  for_each_line<4>(text, [&](const std::array<std::string_view, 4>& fields) {
    Group group{std::string(fields[0]), 0, {}};
    if (!parse_id(fields[2], group.gid)) return;
    std::string_view members = fields[3];
    while (!members.empty()) {
      size_t comma = members.find(',');
      if (comma != 0) group.members.emplace_back(members.substr(0, comma));
      members.remove_prefix(comma == std::string_view::npos ? members.size() : comma + 1);
    }
    groups.push_back(std::move(group));
  });
  return groups;
}

UserDatabase::UserDatabase(std::string passwd, std::string group)
    : passwd_path_(std::move(passwd)), group_path_(std::move(group)) {}

bool UserDatabase::changed(const std::string& path, Version& seen) {
  struct stat info {};
  if (::stat(path.c_str(), &info) < 0) info.st_size = 0;
  bool same = seen.inode == info.st_ino && seen.size == info.st_size &&
              seen.modified.tv_sec == info.st_mtim.tv_sec &&
              seen.modified.tv_nsec == info.st_mtim.tv_nsec;
  seen = {info.st_ino, info.st_size, info.st_mtim};
  return !same;
}

void UserDatabase::refresh() {
  if (changed(passwd_path_, passwd_version_)) {
    auto text = read_file(passwd_path_, kLargestFile);
    users_ = text ? parse_passwd(text.value()) : std::vector<User>();
  }
  if (changed(group_path_, group_version_)) {
    auto text = read_file(group_path_, kLargestFile);
    groups_ = text ? parse_group(text.value()) : std::vector<Group>();
  }
}

std::optional<User> UserDatabase::find(std::string_view name) {
  refresh();
  for (const User& user : users_)
    if (user.name == name) return user;
  return std::nullopt;
}

std::vector<gid_t> UserDatabase::groups_of(const User& user) {
  refresh();
  std::vector<gid_t> ids{user.gid};
  for (const Group& group : groups_) {
    if (group.gid == user.gid) continue;
    for (const auto& member : group.members) {
      if (member != user.name) continue;
      ids.push_back(group.gid);
      break;
    }
  }
  return ids;
}

std::string UserDatabase::user_name(uid_t uid) {
  refresh();
  for (const User& user : users_)
    if (user.uid == uid) return user.name;
  return std::to_string(uid);
}

std::string UserDatabase::group_name(gid_t gid) {
  refresh();
  for (const Group& group : groups_)
    if (group.gid == gid) return group.name;
  return std::to_string(gid);
}

}  // namespace hako::guest
