// PID 1 of the machines in the engine's tests: sets up what hako-guest would, and answers over HTTP
// what a test wants to know. It stands in for the real guest where a test needs to see inside.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>

namespace {

constexpr uint16_t kPort = 49983;

void load_modules() {
  std::ifstream order("/lib/modules/order");
  for (std::string name; std::getline(order, name);) {
    if (name.find("ext4") != std::string::npos || name.find("erofs") != std::string::npos) continue;
    int fd = ::open(("/lib/modules/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ::syscall(SYS_finit_module, fd, "", 0);
    ::close(fd);
  }
}

void set_address(int socket, ifreq& request, unsigned long what, const char* address) {
  auto* in = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
  std::memset(in, 0, sizeof *in);
  in->sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &in->sin_addr);
  ::ioctl(socket, what, &request);
}

void bring_up_network() {
  int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, "eth0", IFNAMSIZ - 1);
  set_address(socket, request, SIOCSIFADDR, "169.254.0.21");
  set_address(socket, request, SIOCSIFNETMASK, "255.255.255.252");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  ::ioctl(socket, SIOCSIFFLAGS, &request);
  ::close(socket);
}

std::string describe_disk(const char* path) {
  int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::string(path) + " missing\n";
  uint64_t size = 0;
  int read_only = 0;
  ::ioctl(fd, BLKGETSIZE64, &size);
  ::ioctl(fd, BLKROGET, &read_only);
  ::close(fd);
  return std::string(path) + " " + std::to_string(size) +
         (read_only ? " read-only\n" : " read-write\n");
}

/// Writes `text` to the start of the scratch disk, past the page cache.
std::string write_scratch(const std::string& text) {
  int fd = ::open("/dev/vdb", O_RDWR | O_CLOEXEC);
  if (fd < 0) return "no scratch\n";
  bool written = ::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
                 ::fsync(fd) == 0;
  ::close(fd);
  return written ? "written\n" : "failed\n";
}

std::string random_hex() {
  unsigned char bytes[16] = {};
  int fd = ::open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  [[maybe_unused]] ssize_t n = ::read(fd, bytes, sizeof bytes);
  ::close(fd);
  std::string text;
  char digits[3];
  for (unsigned char byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text + "\n";
}

/// Memory of which a test says what is in it. All zero at first.
constexpr size_t kMostWords = (320 << 20) / sizeof(uint64_t);
uint64_t* g_words = nullptr;
size_t g_used = 0;  ///< words of it

std::string sum_of_words() {
  uint64_t sum = 0;
  for (size_t i = 0; i < g_used; ++i) sum = sum * 31 + g_words[i];
  return std::to_string(sum) + "\n";
}

/// "MIB/SEED": fills the first MIB with numbers that follow from SEED; with zeros for seed 0.
std::string fill_words(const std::string& what) {
  size_t words = (std::strtoul(what.c_str(), nullptr, 10) << 20) / sizeof(uint64_t);
  uint64_t number = std::strtoul(what.c_str() + what.find('/') + 1, nullptr, 10);
  if (words > kMostWords) return "too many\n";
  for (size_t i = 0; i < words; ++i) {
    number ^= number << 13;
    number ^= number >> 7;
    number ^= number << 17;
    g_words[i] = number;
  }
  g_used = std::max(g_used, words);
  return "filled\n";
}

/// "MIB/SEED": changes each page of the first MIB, in one place, as a load that touches many does.
std::string touch_pages(const std::string& what) {
  constexpr size_t kPageWords = 4096 / sizeof(uint64_t);
  size_t words = (std::strtoul(what.c_str(), nullptr, 10) << 20) / sizeof(uint64_t);
  uint64_t number = std::strtoul(what.c_str() + what.find('/') + 1, nullptr, 10);
  if (words > kMostWords) return "too many\n";
  for (size_t i = 0; i < words; i += kPageWords) g_words[i] = number + i;
  g_used = std::max(g_used, words);
  return "touched\n";
}

/// What a process writes on and on, and where.
struct Churn {
  volatile uint64_t tag;
  volatile uint64_t words[(4 << 20) / sizeof(uint64_t)];
};
Churn* g_churn = nullptr;

/// Has all of the churned memory written over and over with `tag`.
std::string churn(const std::string& tag) {
  bool running = g_churn != nullptr;
  if (!running)
    g_churn = static_cast<Churn*>(::mmap(nullptr, sizeof(Churn), PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  g_churn->tag = std::strtoul(tag.c_str(), nullptr, 10);
  if (!running && ::fork() == 0) {
    ::close_range(3, ~0u, 0);  // whoever asked for this waits for the end of the connection
    for (;;) {
      for (auto& word : g_churn->words) word = g_churn->tag;
    }
  }
  return "churning\n";
}

/// Which tags are there.
std::string churned() {
  if (!g_churn) return "nothing\n";
  std::set<uint64_t> tags;
  for (uint64_t word : g_churn->words) tags.insert(word);
  std::string text = " ";
  for (uint64_t tag : tags) text += std::to_string(tag) + " ";
  return text + "\n";
}

std::string answer(const std::string& path) {
  static int counter = 0;  // in memory that clones copy
  if (path == "/count") return std::to_string(++counter) + "\n";
  if (path == "/disks") return describe_disk("/dev/vda") + describe_disk("/dev/vdb");
  if (path == "/random") return random_hex();
  if (path.rfind("/scratch/", 0) == 0) return write_scratch(path.substr(9));
  if (path.rfind("/print/", 0) == 0) {
    std::printf("%s\n", path.c_str() + 7);
    return "printed\n";
  }
  if (path.rfind("/fill/", 0) == 0) return fill_words(path.substr(6));
  if (path.rfind("/touch/", 0) == 0) return touch_pages(path.substr(7));
  if (path == "/sum") return sum_of_words();
  if (path.rfind("/churn/", 0) == 0) return churn(path.substr(7));
  if (path == "/churned") return churned();
  return "";
}

/// Once whoever is at the other end has read everything and gone.
void reboot_after(int client) {
  ::shutdown(client, SHUT_WR);
  char ignored[64];
  while (::read(client, ignored, sizeof ignored) > 0) {
  }
  ::reboot(RB_AUTOBOOT);
}

void serve(int client) {
  std::string request;
  char buffer[1024];
  while (request.find("\r\n\r\n") == std::string::npos && request.size() < 8192) {
    ssize_t n = ::read(client, buffer, sizeof buffer);
    if (n <= 0) return;
    request.append(buffer, static_cast<size_t>(n));
  }
  size_t start = request.find(' ') + 1;
  std::string path = request.substr(start, request.find(' ', start) - start);
  std::string body = answer(path);
  std::string status = body.empty() ? "204 No Content" : "200 OK";
  std::string reply = "HTTP/1.1 " + status +
                      "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
                      "\r\n\r\n" + body;
  [[maybe_unused]] ssize_t n = ::write(client, reply.data(), reply.size());
  if (path == "/reboot") reboot_after(client);
}

}  // namespace

int main() {
  g_words = static_cast<uint64_t*>(::mmap(nullptr, kMostWords * sizeof(uint64_t),
                                          PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ::mount("dev", "/dev", "devtmpfs", 0, nullptr);
  ::mount("proc", "/proc", "proc", 0, nullptr);
  load_modules();
  int console = ::open("/dev/hvc0", O_RDWR | O_CLOEXEC);
  if (console >= 0)
    for (int fd = 0; fd < 3; ++fd) ::dup2(console, fd);
  ::setvbuf(stdout, nullptr, _IOLBF, 0);
  bring_up_network();

  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
      ::listen(listener, 16) < 0) {
    std::perror("test guest: listen");
    ::sleep(1000);
  }
  std::printf("test guest: ready\n");
  for (;;) {
    int client = ::accept(listener, nullptr, nullptr);
    if (client < 0) continue;
    serve(client);
    ::close(client);
  }
}
