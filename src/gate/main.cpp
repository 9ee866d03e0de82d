// hako-gate: the only process that exchanges bytes with guests.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <iostream>

#include "base/async/check_loop.h"
#include "base/log.h"
#include "base/start_signal.h"
#include "config/listening.h"
#include "gate/node_link.h"
#include "gate/proxy.h"
#include "http/server.h"
#include "jail/jail.h"

namespace hako::gate {
namespace {

constexpr char kResolvConf[] = "/etc/resolv.conf";

Result<Fd> listening_socket(const config::Config& config, int inherited) {
  if (inherited >= 0) {
    Fd given(inherited);
    return given.duplicate();
  }
  // Which isolation boxes have is the node's to know: it announces none where it may not.
  auto allowed = policy::may_listen(config::gate_listening(config));
  if (!allowed.allowed)
    return Error(ErrorCode::permission_denied, "[gate] address: " + allowed.explanation());
  return http::listen_tcp(config.gate_address, config.gate_port);
}

/// Whom to ask for the names that boxes connect to. None: then no name can be reached.
std::vector<DnsServer> resolvers_of(const config::Config& config) {
  std::vector<DnsServer> servers;
  for (const auto& server : config.resolvers) servers.push_back({server.address, server.port});
  if (!servers.empty()) return servers;
  auto text = read_file(kResolvConf);
  if (text) servers = resolvers_from(text.value());
  if (servers.empty()) log_warn("no_resolvers", {{"file", kResolvConf}});
  return servers;
}

Task<void> wait_for_signal(asio::signal_set& signals) {
  co_await signals.async_wait(asio::use_awaitable);
}

Task<void> run(asio::signal_set& signals, const config::Config& config, tls::Server& tls,
               tls::Client& upstream_tls, std::vector<DnsServer> resolvers, OwnAddresses own,
               Fd listener) {
  auto executor = co_await asio::this_coro::executor;
  BrokerLink broker(executor, config.broker_socket());
  NodeLink node(executor, config.gate_socket(), tls, std::move(resolvers), std::move(own), broker,
                upstream_tls);
  Proxy::Api api{config.api_host(), config.api_socket()};
  Sleepers sleepers(executor, config.wake_socket());
  Proxy proxy(node.table(), node.access(), std::move(api), &sleepers);
  http::Handler handler = [&proxy](http::Exchange& exchange) { return proxy.handle(exchange); };
  TaskGroup tasks(executor);
  tasks.spawn("node link", node.run());
  tasks.spawn("sleepers", sleepers.run());
  tasks.spawn("broker link", broker.run());
  http::Welcome welcome;
  if (!config.gate_certificate.empty())
    welcome = [&tls](http::Stream stream) { return tls.welcome(std::move(stream)); };
  http::ServerLimits limits;
  // Each is two, and the other half of them is for what boxes connect to.
  limits.connections = http::connections_within_descriptors(4);
  tasks.spawn("proxy", http::serve(std::move(listener), handler, limits, welcome));
  co_await wait_for_signal(signals);
  log_info("stopping");
  node.access().settle_all();
  co_await tasks.stop();
}

Result<void> start(const std::string& config_path, int listen_fd) {
  bool named = !config_path.empty();
  HAKO_TRY(auto config, config::load(named ? config_path : config::default_path(), named));
  start_logging("gate", log_level_from(config.log_level));
  // Every connection of every box is a descriptor here, twice.
  raise_descriptor_limit();
  HAKO_TRY(auto listener, listening_socket(config, listen_fd));
  auto resolvers = resolvers_of(config);
  tls::Client upstream_tls(config.upstream_ca_file);
  // Without authorities nobody can prove who they are, and nothing that is looked into passes.
  if (auto read = upstream_tls.prepare(); !read)
    log_warn("no_upstream_authorities", {{"error", read.error().message()}});
  asio::io_context loop(1);
  HAKO_TRYV(check_loop(loop));
  if (::geteuid() == 0) {
    // It sees the sockets of node and api, which the node may make only later.
    if (::mkdir(config.run_dir.c_str(), 0711) == 0)
      (void)::chmod(config.run_dir.c_str(), 0711);
    else if (errno != EEXIST)
      return Error::from_errno(errno, "make " + config.run_dir);
    HAKO_TRYV(jail::confine_daemon(config.gate_uid, config.gate_uid, {{config.run_dir}}));
  }

  HAKO_TRY(auto own, OwnAddresses::open());
  asio::signal_set signals(loop, SIGTERM, SIGINT);
  uint16_t port = http::local_port(listener);
  tls::Server tls;
  // Everything is open: from here on no file can be, and no program started.
  HAKO_TRYV(jail::confine_gate());
  log_info("gate_listening", {{"address", config.gate_address}, {"port", port}});

  std::exception_ptr fault;
  asio::co_spawn(loop,
                 run(signals, config, tls, upstream_tls, std::move(resolvers), std::move(own),
                     std::move(listener)),
                 [&](std::exception_ptr error) {
                   fault = error;
                   loop.stop();
                 });
  loop.run();
  if (fault) std::rethrow_exception(fault);
  return ok();
}

}  // namespace
}  // namespace hako::gate

int main(int argc, char** argv) {
  if (!hako::wait_for_start_signal()) return 1;
  CLI::App app("hako-gate: passes requests into boxes; the only process that talks with guests");
  std::string config_path;
  int listen_fd = -1;
  app.add_option("--config", config_path,
                 "configuration file (default: $HAKO_CONFIG or /etc/hako/hako.toml)");
  app.add_option("--listen-fd", listen_fd,
                 "an open listening socket to use instead of [gate] address and port");
  CLI11_PARSE(app, argc, argv);
  ::signal(SIGPIPE, SIG_IGN);
  try {
    auto result = hako::gate::start(config_path, listen_fd);
    if (result) return 0;
    std::cerr << "hako-gate: " << result.error().message() << "\n";
  } catch (const std::exception& error) {
    std::cerr << "hako-gate: " << error.what() << "\n";
  }
  return 1;
}
