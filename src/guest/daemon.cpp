#include "guest/daemon.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "guest/loopback_relay.h"
#include "guest/router.h"

namespace hako::guest {
namespace {

constexpr size_t kConnections = 768;  ///< more than the gate ever has with one guest

/// Completes when the program is told to end.
Task<void> wait_for_end() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  asio::posix::stream_descriptor signals(co_await asio::this_coro::executor,
                                         ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  co_await signals.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
}

Task<void> serve_until_told(TaskGroup& tasks, Context& context, Router& router, Fd listener,
                            Fd relay) {
  http::ServerLimits limits;
  limits.connections = kConnections;
  http::Handler handler = [&router](http::Exchange& exchange) { return router.handle(exchange); };
  tasks.spawn("reap", context.processes.reap_children());
  tasks.spawn("serve", http::serve(std::move(listener), std::move(handler), limits));
  if (relay)
    tasks.spawn("relays", serve_loopback_relay(std::move(relay), context.settings.host_address));
  co_await wait_for_end();
  co_await tasks.stop();
  co_await context.watchers.stop();
  co_await context.processes.stop();
}

}  // namespace

Result<void> run_daemon(const std::string& address, uint16_t port, Settings settings) {
  asio::io_context io(1);
  Context context(io.get_executor(), std::move(settings));
  Router router(context);
  TaskGroup tasks(io.get_executor());
  HAKO_TRYV(context.freezer.prepare());
  HAKO_TRY(auto listener, http::listen_tcp(address, port));
  Fd relay;
  if (context.settings.relay_port != 0) {
    HAKO_TRY(auto opened, http::listen_tcp(address, context.settings.relay_port));
    relay = std::move(opened);
  }
  log_info("listening", {{"address", address}, {"port", http::local_port(listener)}});
  auto run = serve_until_told(tasks, context, router, std::move(listener), std::move(relay));
  bool done = false;
  asio::co_spawn(io, std::move(run), [&](std::exception_ptr fault) {
    done = true;
    if (fault) std::rethrow_exception(fault);
  });
  while (!done) {
    try {
      io.run();
      break;
    } catch (const std::exception& fault) {
      // Nothing a client sends may end the machine: the one who asked has lost his connection.
      log_error("fault", {{"error", fault.what()}});
    }
  }
  return ok();
}

}  // namespace hako::guest
