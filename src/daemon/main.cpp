// hakod: the node and api roles. Only wires.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <iostream>

#include "api/api.h"
#include "base/async/check_loop.h"
#include "base/async/task_group.h"
#include "base/log.h"
#include "base/start_signal.h"
#include "config/config.h"
#include "node/node.h"

namespace {

namespace asio = boost::asio;
using hako::ErrorCode;
using hako::Result;
using hako::Task;

/// A role that does not end in this time after it was asked to is ended: everything a role keeps
/// survives a kill, so waiting longer would only be politeness.
constexpr auto kStopTime = std::chrono::seconds(4);
constexpr auto kHeartbeat = std::chrono::seconds(1);

Task<void> run_role(Task<Result<void>> role, std::optional<Result<void>>& outcome) {
  outcome.emplace(co_await std::move(role));
}

/// Runs a role until it fails or SIGTERM or SIGINT asks it to stop.
int run(asio::io_context& io, Task<Result<void>> role) {
  std::optional<Result<void>> outcome;
  asio::cancellation_signal cancel;
  asio::signal_set signals(io, SIGTERM, SIGINT);
  asio::steady_timer hard_stop(io), heartbeat(io);
  // Another thread wakes the loop by a system call, and Asio does not say when that has failed.
  std::function<void()> beat = [&] {
    heartbeat.expires_after(kHeartbeat);
    heartbeat.async_wait([&](boost::system::error_code error) {
      if (!error) beat();
    });
  };
  beat();
  int status = 0;
  signals.async_wait([&](boost::system::error_code error, int) {
    if (error) return;
    cancel.emit(asio::cancellation_type::terminal);
    hard_stop.expires_after(kStopTime);
    hard_stop.async_wait([](boost::system::error_code late) {
      if (!late) ::_exit(0);
    });
  });
  auto finished = [&](std::exception_ptr fault) {
    if (fault) {
      try {
        std::rethrow_exception(fault);
      } catch (const boost::system::system_error& error) {
        if (error.code() != asio::error::operation_aborted) {
          hako::log_error("role_failed", {{"error", error.what()}});
          status = 1;
        }
      } catch (const std::exception& error) {
        hako::log_error("role_failed", {{"error", error.what()}});
        status = 1;
      }
    } else if (outcome && !*outcome) {
      hako::log_error("role_failed", {{"error", outcome->error().message()}});
      status = 1;
    }
    signals.cancel();
    hard_stop.cancel();
    io.stop();
  };
  asio::co_spawn(io, run_role(std::move(role), outcome),
                 asio::bind_cancellation_slot(cancel.slot(), finished));
  io.run();
  return status;
}

Task<Result<void>> run_node(const hako::config::Config& config, bool& again) {
  auto end = co_await hako::node::run_node(config);
  if (!end) co_return end.error();
  again = end.value() == hako::node::NodeEnd::start_again;
  co_return hako::ok();
}

}  // namespace

int main(int argc, char** argv) {
  if (!hako::wait_for_start_signal()) return 1;
  CLI::App app{"hakod: the roles of a hako host. `hako up` starts them; see `hako --help`."};
  app.require_subcommand(1);
  std::string config_path = hako::config::default_path();
  bool cleanup = false;
  auto* node = app.add_subcommand("node", "owns this host's virtual machines (root)");
  auto* api = app.add_subcommand("api", "serves the REST API (gives up root)");
  for (auto* role : {node, api}) role->add_option("--config", config_path, "configuration file");
  node->add_flag("--cleanup", cleanup, "end every box, remove all that is left of them, and exit");
  CLI11_PARSE(app, argc, argv);

  ::signal(SIGPIPE, SIG_IGN);
  bool named = app.got_subcommand(node) ? node->count("--config") : api->count("--config");
  auto config = hako::config::load(config_path, named);
  if (!config) {
    std::cerr << "hakod: " << config.error().message() << "\n";
    return 2;
  }
  hako::start_logging(app.got_subcommand(node) ? "node" : "api",
                      hako::log_level_from(config.value().log_level));
  if (cleanup) {
    auto cleaned = hako::node::clean_up(config.value());
    if (!cleaned) std::cerr << "hakod: " << cleaned.error().message() << "\n";
    return cleaned ? 0 : 1;
  }
  asio::io_context io(1);
  if (auto works = hako::check_loop(io); !works) {
    hako::log_error("role_failed", {{"error", works.error().message()}});
    return 1;
  }
  if (app.got_subcommand(node)) {
    bool again = false;
    int status = run(io, run_node(config.value(), again));
    // As the same process, so that whoever watches it sees no end.
    if (again) ::execv("/proc/self/exe", argv);
    return again ? 1 : status;
  }
  return run(io, hako::api::run_api(config.value()));
}
