// The users of the machine, read from /etc/passwd and /etc/group (a static program has no NSS).
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hako::guest {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
  std::string shell;
};

struct Group {
  std::string name;
  gid_t gid = 0;
  std::vector<std::string> members;
};

/// Malformed lines are skipped: programs in the box may have written anything there.
std::vector<User> parse_passwd(std::string_view text);
std::vector<Group> parse_group(std::string_view text);

/// Looks names up, reading the files again only after they have changed. Thread: one.
class UserDatabase {
 public:
  explicit UserDatabase(std::string passwd = "/etc/passwd", std::string group = "/etc/group");

  std::optional<User> find(std::string_view name);
  /// The groups of `user`, its own first.
  std::vector<gid_t> groups_of(const User& user);
  /// Names for numbers; the number itself where there is no name.
  std::string user_name(uid_t uid);
  std::string group_name(gid_t gid);

 private:
  /// What tells one version of a file from another.
  struct Version {
    ino_t inode = 0;
    off_t size = -1;
    timespec modified{};
  };
  /// True when the file has changed since `seen`, which is brought up to date.
  static bool changed(const std::string& path, Version& seen);
  void refresh();

  std::string passwd_path_, group_path_;
  Version passwd_version_, group_version_;
  std::vector<User> users_;
  std::vector<Group> groups_;
};

}  // namespace hako::guest
