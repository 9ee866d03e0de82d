// Files, devices and descriptors.
#include <dirent.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "support/jail_probe.h"

namespace hako::jail_probe {
namespace {

int open_for(const std::string& path, int flags) {
  int fd = ::open(path.c_str(), flags, 0600);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

/// Takes it away again, for the next attempt.
int made(const std::string& path, long call) {
  if (call < 0) return errno;
  ::remove(path.c_str());
  return 0;
}

int read_file(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) return errno;
  char byte;
  return result_of(::read(fd, &byte, 1));
}

int open_to_write(const std::string& path) {
  return open_for(path, O_WRONLY);
}

int open_to_read(const std::string& path) {
  return open_for(path, O_RDONLY);
}

int open_both_ways(const std::string& path) {
  return open_for(path, O_RDWR);
}

int make_file(const std::string& folder) {
  std::string path = folder + "/made";
  return made(path, ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600));
}

int make_nameless_file(const std::string& folder) {
  return open_for(folder, O_WRONLY | O_TMPFILE);
}

int make_folder(const std::string& folder) {
  std::string path = folder + "/made";
  return made(path, ::mkdir(path.c_str(), 0700));
}

int make_link(const std::string& folder) {
  std::string path = folder + "/made";
  return made(path, ::symlink("/etc/shadow", path.c_str()));
}

int make_device(const std::string& folder) {
  std::string path = folder + "/made";
  return made(path, ::mknod(path.c_str(), S_IFCHR | 0600, ::makedev(1, 1)));
}

int change_mode(const std::string& path) {
  return result_of(::chmod(path.c_str(), 04755));
}

/// Sees more than the descriptors that a VMM is given (0 to 9) and the one it reads this list by.
int hold_other_descriptors(const std::string&) {
  for (int fd = 11; fd < 4096; ++fd)
    if (::fcntl(fd, F_GETFD) >= 0) return 0;
  return EBADF;
}

int write_to(const std::string& descriptor) {
  return result_of(::pwrite(std::atoi(descriptor.c_str()), "x", 1, 0));
}

int write_again_opened(const std::string& descriptor) {
  int fd = ::open(("/proc/self/fd/" + descriptor).c_str(), O_RDWR);
  if (fd < 0) return errno;
  return result_of(::pwrite(fd, "x", 1, 0));
}

int punch_hole(const std::string& descriptor) {
  return result_of(::fallocate(std::atoi(descriptor.c_str()),
                               FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
}

int map_shared(const std::string& descriptor) {
  void* memory =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, std::atoi(descriptor.c_str()), 0);
  return memory == MAP_FAILED ? errno : 0;
}

int grow_disk(const std::string& descriptor) {
  return result_of(::pwrite(std::atoi(descriptor.c_str()), "x", 1, off_t{1} << 40));
}

int keep_tap(const std::string& descriptor) {
  return result_of(::ioctl(std::atoi(descriptor.c_str()), TUNSETPERSIST, 1));
}

/// The physical addresses of one's memory.
int find_physical_memory(const std::string&) {
  volatile char here = 1;
  int fd = ::open("/proc/self/pagemap", O_RDONLY);
  if (fd < 0) return errno;
  uint64_t entry = 0;
  auto page = reinterpret_cast<uintptr_t>(&here) / 4096;
  if (::pread(fd, &entry, sizeof entry, static_cast<off_t>(page * sizeof entry)) < 0) return errno;
  return (entry & ((uint64_t{1} << 55) - 1)) != 0 ? 0 : EPERM;
}

/// What stands in a file of /proc, where a test put `word`: "path:word".
int find_word(const std::string& value) {
  size_t colon = value.rfind(':');
  int fd = ::open(value.substr(0, colon).c_str(), O_RDONLY);
  if (fd < 0) return errno;
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  return text.find(value.substr(colon + 1)) == std::string::npos ? ENOENT : 0;
}

int list_folder(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (!folder) return errno;
  int entries = 0;
  while (dirent* entry = ::readdir(folder)) entries += entry->d_name[0] != '.';
  return entries > 0 ? 0 : ENOENT;
}

constexpr Attempt kAttempts[] = {
    {"read-file", read_file},
    {"open-to-read", open_to_read},
    {"open-to-write", open_to_write},
    {"open-device", open_both_ways},
    {"list-folder", list_folder},
    {"make-file", make_file},
    {"make-nameless-file", make_nameless_file},
    {"make-folder", make_folder},
    {"make-link", make_link},
    {"make-device", make_device},
    {"change-mode", change_mode},
    {"hold-other-descriptors", hold_other_descriptors},
    {"write-to-descriptor", write_to},
    {"write-again-opened", write_again_opened},
    {"punch-hole", punch_hole},
    {"map-shared", map_shared},
    {"grow-disk", grow_disk},
    {"keep-tap", keep_tap},
    {"find-physical-memory", find_physical_memory},
    {"find-word", find_word},
};

}  // namespace

std::span<const Attempt> file_attempts() {
  return kAttempts;
}

}  // namespace hako::jail_probe
