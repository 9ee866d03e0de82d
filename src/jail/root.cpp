#include "jail/root.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <thread>

namespace hako::jail {
namespace {

namespace fs = std::filesystem;

/// Where the new root is built. The host's own files there are covered in this namespace only.
constexpr char kBuildPlace[] = "/tmp";

Result<void> mounted(long result, const std::string& what) {
  if (result < 0) return Error::from_errno(errno, what);
  return ok();
}

uint64_t attributes_of(Shown::As as) {
  switch (as) {
    case Shown::As::read_only:
      return MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    case Shown::As::program:
      return MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    case Shown::As::writable:
      return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    case Shown::As::device:
      return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  }
  return 0;
}

/// A copy of the mounts at a path, which is nowhere yet.
struct Tree {
  std::string place;  ///< with its folder's own name, not one that leads there
  bool folder;
  Fd mounts;
};

Result<std::optional<Tree>> take_tree(const Shown& shown) {
  std::error_code failure;
  bool exists = fs::exists(shown.path, failure);
  // Not to be taken for missing: what is made without it is kept.
  if (failure) return Error::from_errno(failure.value(), "look for " + shown.path);
  if (!exists) return std::optional<Tree>();
  fs::path path(shown.path);
  fs::path parent = fs::canonical(path.parent_path(), failure);
  if (failure) return Error::from_errno(failure.value(), "find " + shown.path);
  Tree tree{(parent / path.filename()).string(), fs::is_directory(path, failure), Fd()};
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (shown.with_mounts ? AT_RECURSIVE : 0u);
  tree.mounts = Fd(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, shown.path.c_str(), flags)));
  if (!tree.mounts) return Error::from_errno(errno, "take " + shown.path);
  mount_attr attributes{};
  attributes.attr_set = attributes_of(shown.as);
  HAKO_TRYV(mounted(::syscall(SYS_mount_setattr, tree.mounts.get(), "",
                              AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes),
                    "lock down " + shown.path));
  return std::optional<Tree>(std::move(tree));
}

Result<void> place_tree(const Tree& tree, const std::string& root) {
  std::string target = root + tree.place;
  for (size_t slash = root.size(); (slash = target.find('/', slash + 1)) != std::string::npos;)
    if (::mkdir(target.substr(0, slash).c_str(), 0755) < 0 && errno != EEXIST)
      return Error::from_errno(errno, "make a folder for " + tree.place);
  if (tree.folder) {
    if (::mkdir(target.c_str(), 0755) < 0 && errno != EEXIST)
      return Error::from_errno(errno, "make " + target);
  } else {
    HAKO_TRY(auto file, open_file(target, O_RDONLY | O_CREAT, 0444));
  }
  return mounted(::syscall(SYS_move_mount, tree.mounts.get(), "", AT_FDCWD, target.c_str(),
                           MOVE_MOUNT_F_EMPTY_PATH),
                 "show " + tree.place);
}

/// /lib and the like, where they are links into /usr; else they are made as folders when needed.
Result<void> copy_top_links(const std::string& root) {
  for (const char* name : {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}) {
    std::error_code failure;
    auto link = fs::read_symlink(std::string("/") + name, failure);
    bool no_link =
        failure == std::errc::invalid_argument || failure == std::errc::no_such_file_or_directory;
    if (no_link) continue;
    if (failure) return Error::from_errno(failure.value(), std::string("read /") + name);
    HAKO_TRYV(mounted(::symlink(link.c_str(), (root + "/" + name).c_str()),
                      std::string("make /") + name));
  }
  return ok();
}

Result<void> build(const std::string& root, const std::vector<Shown>& shown) {
  // Taken before the place to build covers what lies below it.
  std::vector<Tree> trees;
  for (const Shown& each : shown) {
    HAKO_TRY(auto tree, take_tree(each));
    if (tree) trees.push_back(std::move(*tree));
  }
  HAKO_TRYV(mounted(::mount("hako", root.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                            "mode=0755,size=256k"),
                    "mount the new root"));
  HAKO_TRYV(copy_top_links(root));
  for (const Tree& tree : trees) {
    HAKO_TRYV(place_tree(tree, root));
  }
  // Descriptors are opened again by their names in /proc/self/fd.
  HAKO_TRYV(mounted(::mkdir((root + "/proc").c_str(), 0555), "make /proc"));
  return mounted(::mount("proc", (root + "/proc").c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                         "hidepid=invisible,subset=pid"),
                 "mount a /proc of its own");
}

Result<void> change_root(const Fd& folder) {
  HAKO_TRYV(mounted(::fchdir(folder.get()), "go back to our own root"));
  return mounted(::chroot("."), "take our own root again");
}

/// Joining a namespace, even one's own, leaves a chroot for that namespace's root. Only that one is
/// sure to be a mount, which changing how mounts spread and pivot_root ask for.
Result<void> go_to_top(const Fd& mounts) {
  return mounted(::setns(mounts.get(), CLONE_NEWNS), "go to the top of the mounts");
}

/// Leaves the calling thread in a mount namespace of its own. "/" may be a plain folder (a chroot).
Result<Fd> build_and_enter(const std::vector<Shown>& shown) {
  HAKO_TRYV(mounted(::unshare(CLONE_NEWNS), "new mount namespace"));
  HAKO_TRY(auto mounts, open_file("/proc/thread-self/ns/mnt", O_RDONLY));
  HAKO_TRY(auto our_root, open_file("/", O_PATH | O_DIRECTORY));
  HAKO_TRYV(go_to_top(mounts));
  HAKO_TRYV(mounted(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr),
                    "keep mounts to ourselves"));
  HAKO_TRYV(change_root(our_root));
  // Of this thread only, as its root now is: folders must be open to those who will live here.
  mode_t umask_before = ::umask(022);
  auto built = build(kBuildPlace, shown);
  ::umask(umask_before);
  HAKO_TRYV(built);
  HAKO_TRY(auto new_root, open_file(kBuildPlace, O_PATH | O_DIRECTORY));
  HAKO_TRYV(go_to_top(mounts));
  HAKO_TRYV(mounted(::fchdir(new_root.get()), "enter the new root"));
  // With both names the same the old root ends up over the new one, from where it is taken away.
  HAKO_TRYV(mounted(::syscall(SYS_pivot_root, ".", "."), "pivot to the new root"));
  HAKO_TRYV(mounted(::umount2(".", MNT_DETACH), "take the old root away"));
  HAKO_TRYV(mounted(::chdir("/"), "go to the new root"));
  HAKO_TRYV(
      mounted(::mount(nullptr, "/", nullptr,
                      MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr),
              "make the new root read-only"));
  return mounts;
}

}  // namespace

Result<Fd> make_root(const std::vector<Shown>& shown) {
  // The thread ends with its namespace; only the descriptor keeps it.
  std::optional<Result<Fd>> root;
  std::thread([&] { root.emplace(build_and_enter(shown)); }).join();
  return std::move(*root);
}

Result<void> enter_root(const std::vector<Shown>& shown) {
  HAKO_TRY(auto mounts, build_and_enter(shown));
  return ok();
}

}  // namespace hako::jail
