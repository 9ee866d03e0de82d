// hako-guest: PID 1 of a box, or the same daemon on its own for tests.
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/log.h"
#include "guest/boot.h"
#include "guest/daemon.h"
#include "guest/generation.h"
#include "guest/loopback_relay.h"
#include "guest/network.h"

namespace {

using namespace hako;

constexpr std::string_view kUsage =
    "usage: hako-guest --listen ADDRESS:PORT [--relay PORT] [--groups FOLDER] [--root-free]\n"
    "  Serves the daemon of a box on this machine, changing nothing on it.\n"
    "  --relay      also serve the way to services on the loopback address, on that port\n"
    "  --groups     a control group (v2) to start programs below, so that they can freeze\n"
    "  --root-free  run programs as the user that runs this, whoever is asked for\n"
    "As PID 1 it takes no options: it boots the machine it is in.\n";

/// What is read from descriptors must not interrupt, and a reader that has gone is an error of the
/// write, not of the program.
void set_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (int signal : {SIGCHLD, SIGTERM, SIGINT}) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

void run_machine() {
  start_logging("guest", LogLevel::info);
  auto booted = guest::boot();
  if (!booted) guest::die(booted.error());
  guest::Settings settings{.owns_machine = true,
                           .change_user = true,
                           .host_address = guest::kHostAddress,
                           .relay_port = guest::kRelayPort,
                           .groups = "/sys/fs/cgroup"};
  auto served = guest::run_daemon("0.0.0.0", guest::kDaemonPort, std::move(settings));
  if (!served) guest::die(served.error());
  guest::power_off();
}

int run_on_host(std::string_view listen, uint16_t relay, std::string groups, bool root_free) {
  size_t colon = listen.rfind(':');
  uint16_t port = 0;
  const char* end = listen.data() + listen.size();
  bool valid = colon != std::string_view::npos &&
               std::from_chars(listen.data() + colon + 1, end, port).ptr == end;
  if (!valid) {
    std::fputs("hako-guest: --listen needs ADDRESS:PORT\n", stderr);
    return 2;
  }
  start_logging("guest", LogLevel::info);
  std::string address(listen.substr(0, colon));
  guest::Settings settings{.owns_machine = false,
                           .change_user = !root_free,
                           .host_address = "127.0.0.1",
                           .relay_port = relay,
                           .groups = std::move(groups)};
  auto served = guest::run_daemon(address, port, std::move(settings));
  if (served) return 0;
  std::fprintf(stderr, "hako-guest: %s\n", served.error().message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  set_signals();
  if (::getpid() == 1) run_machine();
  std::string_view name = argc > 0 ? argv[0] : "";
  std::string_view wait_program = guest::kWaitProgram;
  if (name.substr(name.rfind('/') + 1) == wait_program.substr(wait_program.rfind('/') + 1))
    return guest::wait_generation(argc, argv);
  std::string_view listen;
  std::string groups;
  uint16_t relay = 0;
  bool root_free = ::geteuid() != 0;
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    if (argument == "--listen" && i + 1 < argc) {
      listen = argv[++i];
    } else if (argument == "--relay" && i + 1 < argc) {
      std::string_view port = argv[++i];
      std::from_chars(port.data(), port.data() + port.size(), relay);
    } else if (argument == "--groups" && i + 1 < argc) {
      groups = argv[++i];
    } else if (argument == "--root-free") {
      root_free = true;
    } else {
      std::fputs(kUsage.data(), argument == "--help" ? stdout : stderr);
      return argument == "--help" ? 0 : 2;
    }
  }
  if (listen.empty()) {
    std::fputs(kUsage.data(), stderr);
    return 2;
  }
  return run_on_host(listen, relay, std::move(groups), root_free);
}
