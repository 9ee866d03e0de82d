#include "support/engine_lab.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "base/random.h"
#include "network/namespace.h"

namespace hako::test {

namespace fs = std::filesystem;

namespace {

constexpr off_t kScratchSize = 64 << 20;
constexpr uid_t kJailedUid = 947003;

std::string environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(result.value());
}

/// In a VMM that starts: it shall not outlive tests that are killed.
int end_with_tests(void*, const char** what) {
  *what = "prctl";
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? errno : 0;
}

/// A "newc" archive that replaces /init; the kernel unpacks it over the image's own.
std::string archive_with_init(const std::string& program) {
  auto entry = [](const std::string& name, const std::string& data, unsigned mode) {
    char header[111];
    std::snprintf(header, sizeof header,
                  "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1u, mode, 0u, 0u,
                  1u, 0u, data.size(), 0u, 0u, 0u, 0u, name.size() + 1, 0u);
    std::string text = header + name + '\0';
    text.resize((text.size() + 3) / 4 * 4);
    text += data;
    text.resize((text.size() + 3) / 4 * 4);
    return text;
  };
  return entry("init", program, 0100755) + entry("TRAILER!!!", "", 0);
}

}  // namespace

int patience() {
  return std::max(1, std::atoi(environment("HAKO_TEST_PATIENCE", "1").c_str()));
}

engine::AccelMode accel_from_environment() {
  std::string accel = environment("HAKO_TEST_ACCEL", "auto");
  if (accel == "kvm") return engine::AccelMode::kvm;
  if (accel == "tcg") return engine::AccelMode::tcg;
  return engine::AccelMode::automatic;
}

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

engine::MachineDevices Place::devices() const {
  return {rootfs.get(), scratch.get(), tap.get(), network::kGuestMac};
}

Lab::Lab() {
  if (::geteuid() != 0) throw std::runtime_error("needs root, for network namespaces");
  std::string images = environment("HAKO_IMAGE_DIR", "/var/cache/hako/images");
  fs::path base = fs::path(images) / "base";
  image_.kernel = base / "vmlinux";
  rootfs_ = base / "rootfs.erofs";
  directory_ = fs::temp_directory_path() / ("hako-engine-test-" + random_hex(6));
  fs::create_directory(directory_);
  fs::permissions(directory_, fs::perms::owner_all);

  std::string modules = need(read_file(base / "initramfs.cpio", 256 << 20));
  std::string program = need(read_file(environment("HAKO_TEST_GUEST", HAKO_TEST_GUEST), 64 << 20));
  image_.initrd = directory_ / "initramfs.cpio";
  need(write_file_atomically(image_.initrd, modules + archive_with_init(program), 0644));
}

Lab::~Lab() {
  for (int slot : slots_) (void)network::destroy_slot(directory_ / "slots", slot);
  (void)network::release_slots(directory_ / "slots");
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

void Lab::run(Task<void> task) {
  bool done = false;
  std::exception_ptr fault;
  asio::co_spawn(io_, std::move(task), [&](std::exception_ptr e) {
    fault = e;
    done = true;
  });
  io_.restart();
  while (!done) io_.run_one();
  if (fault) std::rethrow_exception(fault);
}

Place Lab::place() {
  int number = next_number_++;
  fs::create_directories(directory_ / "slots");
  Place place;
  place.slot = need(network::create_slot(directory_ / "slots", number));
  slots_.push_back(number);
  place.tap = need(network::open_tap(place.slot));
  place.rootfs = need(open_file(rootfs_, O_RDONLY));
  std::string scratch = directory_ / ("scratch-" + std::to_string(number));
  place.scratch = need(open_file(scratch, O_RDWR | O_CREAT | O_EXCL, 0600));
  if (::ftruncate(place.scratch.get(), kScratchSize) < 0) throw std::runtime_error("size scratch");
  // Its last part is what QEMU's command line shows, so a process can be told by it.
  place.label = "vm-" + random_hex(6);
  place.control_path = directory_ / place.label;
  return place;
}

engine::QemuOptions Lab::options() {
  engine::QemuOptions options;
  options.binary = environment("HAKO_TEST_QEMU", options.binary);
  options.accel = accel_from_environment();
  auto executor = io_.get_executor();
  if (environment("HAKO_TEST_JAIL", "") == "1") {
    jail::VmmJail jail = vmm_jail();
    options.launcher = [executor, jail](const ProcessSpec& spec) {
      return jail::launch_vmm(executor, spec, jail);
    };
  } else {
    options.launcher = [executor](const ProcessSpec& spec) {
      return spawn(executor, spec, ChildSetup{end_with_tests, nullptr});
    };
  }
  options.control_timeout *= patience();
  options.start_timeout *= patience();
  options.probe_limit *= patience();
  return options;
}

jail::VmmJail Lab::vmm_jail() {
  if (!empty_netns_)
    empty_netns_ = need(network::in_new_namespace([] { return network::current_namespace(); }));
  jail::VmmJail jail;
  jail.uid = jail.gid = kJailedUid;
  jail.netns = empty_netns_.get();
  jail.kvm = accel_from_environment() == engine::AccelMode::kvm;
  jail.largest_file = kScratchSize;
  return jail;
}

std::unique_ptr<engine::Engine> Lab::make_engine(engine::QemuOptions options) {
  return need(run(engine::make_qemu_engine(std::move(options))));
}

std::optional<std::string> Lab::get(const network::Slot& slot, const std::string& path,
                                    std::chrono::milliseconds limit) {
  auto end = Clock::now() + limit;
  auto wait = [&](int fd, short what) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd poll_fd{fd, what, 0};
    return left > 0 && ::poll(&poll_fd, 1, static_cast<int>(left)) == 1;
  };
  Fd socket = std::move(need(network::open_sockets(slot, 1)).front());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(49983);
  ::inet_pton(AF_INET, network::kGuestAddress, &address.sin_addr);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 &&
      errno != EINPROGRESS)
    return std::nullopt;
  if (!wait(socket.get(), POLLOUT)) return std::nullopt;
  std::string request = "GET " + path + " HTTP/1.1\r\nHost: guest\r\n\r\n";
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return std::nullopt;
  std::string reply;
  char buffer[4096];
  while (wait(socket.get(), POLLIN)) {
    ssize_t n = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (n < 0) return std::nullopt;
    if (n == 0) {
      size_t body = reply.find("\r\n\r\n");
      if (body == std::string::npos) return std::nullopt;
      return reply.substr(body + 4);
    }
    reply.append(buffer, static_cast<size_t>(n));
  }
  return std::nullopt;
}

bool Lab::wait_ready(const network::Slot& slot, std::chrono::milliseconds limit) {
  auto end = Clock::now() + limit;
  while (Clock::now() < end) {
    // A lost SYN would be sent again only after a second.
    if (get(slot, "/health", std::chrono::milliseconds(100) * patience())) return true;
    // A refusal comes at once.
    ::usleep(2000);
  }
  return false;
}

Result<engine::Booted> Lab::boot_ready(engine::Engine& engine, const engine::MachineSize& size,
                                       Place& place) {
  for (int attempt = 0;; ++attempt) {
    auto booted = run(engine.boot(image_, size, place.devices(), place.control_path));
    if (!booted) return booted;
    if (wait_ready(place.slot, std::chrono::seconds(90) * patience())) return booted;
    auto console = run(booted.value().machine->console_tail());
    run(booted.value().machine->kill());
    if (attempt == 1)
      return Error(ErrorCode::timed_out,
                   "guest never answered: " + (console ? console.value() : std::string()));
  }
}

std::vector<int> processes_with(const std::string& text) {
  std::vector<int> pids;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::ifstream file(entry.path() / "cmdline");
    std::string line(std::istreambuf_iterator<char>(file), {});
    if (line.find(text) != std::string::npos) pids.push_back(pid);
  }
  return pids;
}

long smaps_kib(int pid, const std::string& field) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(field + ":", 0) == 0) return std::atol(line.c_str() + field.size() + 1);
  return -1;
}

}  // namespace hako::test
