#include "support/jail_launch.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "support/run_value.h"

namespace hako::testing_support {
namespace {

const char byte_of_the_process = 'x';

void need(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string(what) + ": " + ::strerror(errno));
}

template <class Work>
auto on_a_thread(Work work) {
  decltype(work()) result;
  std::thread([&] { result = work(); }).join();
  return result;
}

Fd empty_netns() {
  return on_a_thread([] {
    if (::unshare(CLONE_NEWNET) < 0) return Fd();
    return Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  });
}

Fd tap_somewhere() {
  return on_a_thread([] {
    if (::unshare(CLONE_NEWNET) < 0) return Fd();
    Fd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request{};
    ::strncpy(request.ifr_name, "tap0", sizeof request.ifr_name - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (::ioctl(tap.get(), TUNSETIFF, &request) < 0) return Fd();
    return tap;
  });
}

Fd listener_at(const sockaddr_un& address, socklen_t size) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // SAFETY: the socket interface takes every kind of address as a sockaddr.
  need(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
           ::listen(socket.get(), 64) == 0,
       "listen");
  return socket;
}

template <class Address>
uint16_t bound_port(int socket, Address address, uint16_t Address::*port) {
  socklen_t size = sizeof address;
  if (::bind(socket, reinterpret_cast<sockaddr*>(&address), size) < 0) return 0;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.*port);
}

/// Where core dumps are forbidden already, nobody sees who forbids them.
void allow_core_dumps(bool allowed) {
  rlimit limit{};
  ::getrlimit(RLIMIT_CORE, &limit);
  limit.rlim_cur = allowed ? RLIM_INFINITY : 0;
  limit.rlim_max = RLIM_INFINITY;
  ::setrlimit(RLIMIT_CORE, &limit);
}

}  // namespace

std::string Outcome::text() const {
  if (answered && error == 0) return "got through";
  if (answered) return std::string("refused: ") + ::strerror(error);
  return std::string("ended: ") + ::strsignal(signal);
}

JailLab::JailLab() {
  need(::geteuid() == 0, "root");
  netns_ = empty_netns();
  need(bool(netns_), "an empty network namespace");
  jail_.uid = jail_.gid = kUid;
  jail_.netns = netns_.get();
  jail_.largest_file = kDiskSize;
  make_files();
  make_descriptors();
  make_processes();
  make_sockets();
  shm_key = 0x68616b00 + (::getpid() & 0xff);
  shm_ = ::shmget(shm_key, 4096, IPC_CREAT | 0666);
  need(shm_ >= 0, "shared memory");
}

JailLab::~JailLab() {
  for (pid_t process : {root_process, own_process}) {
    if (process <= 0) continue;
    ::kill(process, SIGKILL);
    ::waitpid(process, nullptr, 0);
  }
  if (shm_ >= 0) ::shmctl(shm_, IPC_RMID, nullptr);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  std::filesystem::remove(setuid_copy_, ignored);
}

void JailLab::make_files() {
  char name[] = "/tmp/hako-jail-XXXXXX";
  need(::mkdtemp(name) != nullptr, "a folder");
  folder = name;
  ::chmod(folder.c_str(), 0777);
  for (auto [path, file] : {std::pair{&open_file, "/open"}, {&owned_file, "/owned"}}) {
    *path = folder + file;
    kept_.emplace_back(::open(path->c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    need(write_all(kept_.back().get(), "text").has_value(), "write a file");
    ::chmod(path->c_str(), 0666);
  }
  need(::chown(owned_file.c_str(), kUid, kUid) == 0, "give a file away");
  // VMMs' users run it, whatever the umask it was built with.
  need(::chmod(HAKO_JAIL_PROBE, 0755) == 0, "open the probe to all");
  // Beside the probe, where a temporary file system cannot forbid setuid.
  setuid_copy_ = std::string(HAKO_JAIL_PROBE) + "-setuid-" + std::to_string(::getpid());
  std::filesystem::copy_file(HAKO_JAIL_PROBE, setuid_copy_);
  need(::chmod(setuid_copy_.c_str(), 04755) == 0, "make a setuid program");
}

void JailLab::make_descriptors() {
  constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  Fd shared(::memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  need(::ftruncate(shared.get(), 1 << 20) == 0 && ::fcntl(shared.get(), F_ADD_SEALS, kSeals) == 0,
       "sealed memory");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::strncpy(address.sun_path, (folder + "/control").c_str(), sizeof address.sun_path - 1);
  given_[memory] = std::move(shared);
  given_[control] = listener_at(address, sizeof address);
  std::string root = folder + "/root.raw", scratch = folder + "/scratch.raw";
  kept_.emplace_back(::open(root.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ::fchmod(kept_.back().get(), 0644);
  given_[root_disk] = Fd(::open(root.c_str(), O_RDONLY | O_CLOEXEC));
  given_[disk] = Fd(::open(scratch.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  need(::ftruncate(given_[disk].get(), kDiskSize) == 0, "a disk");
  given_[tap] = tap_somewhere();
  given_[program] = Fd(::open(HAKO_JAIL_PROBE, O_RDONLY | O_CLOEXEC));
  given_[setuid_program] = Fd(::open(setuid_copy_.c_str(), O_RDONLY | O_CLOEXEC));
  for (auto& [number, fd] : given_) need(bool(fd), "a descriptor");
}

void JailLab::make_processes() {
  auto start = [](uid_t uid) {
    int ready[2];
    need(::pipe(ready) == 0, "pipe");
    pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (uid != 0 && (::setgroups(0, nullptr) < 0 || ::setresgid(uid, uid, uid) < 0 ||
                       ::setresuid(uid, uid, uid) < 0))
        ::_exit(1);
      // As a program has it that was started by its own user.
      ::prctl(PR_SET_DUMPABLE, 1);
      (void)!::write(ready[1], "x", 1);
      ::pause();
      ::_exit(0);
    }
    char byte;
    ::close(ready[1]);
    need(::read(ready[0], &byte, 1) == 1, "a process to attack");
    ::close(ready[0]);
    return child;
  };
  root_process = start(0);
  own_process = start(kUid);
  char address[32];
  std::snprintf(address, sizeof address, "%p", static_cast<const void*>(&byte_of_the_process));
  own_memory = std::to_string(own_process) + ":" + address;
}

void JailLab::make_sockets() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path = folder + "/node.sock";
  ::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  kept_.push_back(listener_at(address, sizeof address));
  ::chmod(socket_path.c_str(), 0666);
  abstract = "@hako-jail-" + std::to_string(::getpid());
  address = {};
  address.sun_family = AF_UNIX;
  ::memcpy(address.sun_path + 1, abstract.data() + 1, abstract.size() - 1);
  kept_.push_back(listener_at(
      address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + abstract.size())));

  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 loopback6{};
  loopback6.sin6_family = AF_INET6;
  loopback6.sin6_addr = in6addr_loopback;
  kept_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  tcp_port = bound_port(kept_.back().get(), loopback, &sockaddr_in::sin_port);
  need(tcp_port != 0 && ::listen(kept_.back().get(), 64) == 0, "listen");
  kept_.emplace_back(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  udp_port = bound_port(kept_.back().get(), loopback, &sockaddr_in::sin_port);
  kept_.emplace_back(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  udp6_port = bound_port(kept_.back().get(), loopback6, &sockaddr_in6::sin6_port);
}

Outcome JailLab::attempt(const std::set<jail::Wall>& left_out, const std::string& name,
                         const std::string& value, const std::map<int, int>& instead) {
  int ends[2];
  need(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
  Fd out(ends[0]), in(ends[1]);
  ProcessSpec spec{HAKO_JAIL_PROBE, {"probe", name, value}, {}, {{in.get(), 1}}};
  std::map<int, int> numbers;
  for (auto& [number, fd] : given_) numbers[number] = fd.get();
  for (auto& [number, fd] : instead) numbers[number] = fd;
  for (auto& [number, fd] : numbers) spec.fds.push_back({fd, number});
  if (name == "dump-core") allow_core_dumps(true);
  auto process = launch_vmm_without(left_out, io_.get_executor(), spec, jail_);
  allow_core_dumps(false);
  if (!process) throw std::runtime_error(name + ": " + process.error().message());
  in.reset();
  std::string text;
  char buffer[64];
  for (ssize_t n; (n = ::read(out.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  ExitStatus status = test::run_value(io_, process.value().wait());
  if (status.code == 2) throw std::runtime_error("jail_probe knows no attempt " + name);
  Outcome outcome;
  outcome.answered = !text.empty();
  outcome.error = outcome.answered ? std::stoi(text) : 0;
  outcome.signal = status.signal;
  return outcome;
}

}  // namespace hako::testing_support
