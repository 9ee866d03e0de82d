// Tries what a taken-over VMM would try, and says how each attempt ended: "<name> <errno>" per
// line, 0 where it succeeded. Arguments: name=value, the value being what the test prepared for it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "support/own_mounts.h"

namespace {

int result_of(long call) {
  return call < 0 ? errno : 0;
}

int read_path(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) return errno;
  char byte;
  return result_of(::read(fd, &byte, 1));
}

int connect_to(int port) {
  int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return result_of(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address));
}

int mount_something() {
  // In a mount namespace of its own that does not spread, so that a success breaks nothing.
  if (!hako::testing_support::own_mounts(MS_PRIVATE)) return errno;
  return result_of(::mount("none", "/usr", "tmpfs", 0, nullptr));
}

int take_descriptors(int count) {
  for (int i = 0; i < count; ++i)
    if (::dup(0) < 0) return errno;
  return 0;
}

/// Runs a program that is setuid root, and sees whether that had an effect.
int become_root_by_exec(const std::string& path) {
  pid_t child = ::fork();
  if (child == 0) {
    ::execl(path.c_str(), "probe", "am-i-root", nullptr);
    ::_exit(errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

int attempt(const std::string& name, const std::string& value) {
  int number = std::atoi(value.c_str());
  if (name == "read") return read_path(value);
  if (name == "connect") return connect_to(number);
  if (name == "ptrace") return result_of(::ptrace(PTRACE_SEIZE, number, nullptr, nullptr));
  if (name == "mount") return mount_something();
  if (name == "setuid") return result_of(::setuid(0));
  if (name == "kill") return result_of(::kill(number, 0));
  if (name == "environ") return read_path("/proc/" + value + "/environ");
  if (name == "shm") return result_of(::shmget(number, 0, 0));
  if (name == "mkdir") return result_of(::mkdir(value.c_str(), 0700));
  if (name == "descriptors") return take_descriptors(number);
  if (name == "setuid-program") return become_root_by_exec(value);
  return ENOSYS;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "am-i-root") == 0) return ::geteuid() == 0 ? 0 : EPERM;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    std::string name = argument.substr(0, argument.find('='));
    std::printf("%s %d\n", name.c_str(), attempt(name, argument.substr(name.size() + 1)));
  }
  return 0;
}
