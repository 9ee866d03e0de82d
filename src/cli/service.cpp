#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/supervisor.h"
#include "cli/text.h"
#include "doctor/checks.h"
#include "http/server.h"

namespace hako::cli {
namespace {

constexpr std::chrono::milliseconds kLook{100};
constexpr std::chrono::seconds kStopTime{90};
constexpr size_t kTailLines = 15;

std::optional<Error> needs_root(const char* command) {
  if (::geteuid() == 0) return std::nullopt;
  return Error(ErrorCode::permission_denied,
               std::string("`hako ") + command +
                   "` needs root: it starts and stops virtual machines and their networks. Try "
                   "`sudo hako " +
                   command + "`");
}

/// The configuration file that the roles are told to read; empty where there is none.
std::string config_for_roles(const GlobalOptions& global) {
  std::string path = global.config.empty() ? config::default_path() : global.config;
  if (::access(path.c_str(), F_OK) != 0) return {};
  return std::filesystem::absolute(path).string();
}

/// What would keep the roles from starting, found before anything is started.
Result<void> look_ahead(const config::Config& config, const std::string& programs) {
  doctor::Sources sources = doctor::this_machine(programs);
  for (const doctor::Check& check :
       {doctor::check_programs(sources), doctor::check_qemu(config, sources),
        doctor::check_image(config), doctor::check_tun(sources), doctor::check_disk(config),
        doctor::check_api_certificate(config, doctor::Dates::ignored),
        doctor::check_gate_certificate(config, doctor::Dates::ignored)})
    if (check.status == doctor::Status::fail)
      return Error(ErrorCode::failed_precondition,
                   check.title + ": " + check.detail + "\nFIX: " + check.fix);
  for (auto [address, port, key] :
       {std::tuple{config.api_address, config.api_port, "[api] port"},
        std::tuple{config.gate_address, config.gate_port, "[gate] port"}}) {
    auto free = http::listen_tcp(address, port);
    if (!free)
      return free.error().with_context(std::string("cannot listen as ") + key + " says (" +
                                       address + ":" + std::to_string(port) + ")");
  }
  return ok();
}

std::string with_log(const config::Config& config, const std::string& name, std::string what) {
  std::string path = log_path(config, name);
  std::string tail = log_tail(path, kTailLines);
  if (tail.empty()) return what + " (nothing is in " + path + ")";
  return what + ". The end of " + path + ":\n" + printable(tail);
}

/// Ends the supervisor, which ends the roles; roles without one are ended too.
Task<void> end_service(const config::Config& config, const ServiceState& state) {
  auto executor = co_await asio::this_coro::executor;
  auto supervisor = Process::adopt(executor, state.supervisor.pid, state.supervisor.start_time);
  if (state.supervisor.pid > 0 && supervisor) co_await end_process(supervisor.value(), kStopTime);
  for (auto role = state.roles.rbegin(); role != state.roles.rend(); ++role) {
    if (role->process.pid <= 0) continue;
    auto process = Process::adopt(executor, role->process.pid, role->process.start_time);
    if (process) co_await end_process(process.value(), std::chrono::seconds(20));
  }
  ::unlink(state_path(config).c_str());
}

/// The state of template `name` as the API tells it: "ready", "building", "failed" or empty.
/// `reason` is told for a failed one.
std::string template_state(const boost::json::value& answer, const std::string& name,
                           std::string& reason) {
  const auto* object = answer.if_object();
  const auto* list = object ? object->if_contains("templates") : nullptr;
  if (list && list->is_array())
    for (const auto& item : list->get_array())
      if (text_member(item, "name") == name) {
        reason = text_member(item, "error");
        return text_member(item, "state");
      }
  return {};
}

enum class Readiness { not_yet, ready, hopeless };

/// Asks whether a box could be made now. `what` gets the reason otherwise.
Task<Readiness> probe(const GlobalOptions& global, const config::Config& config,
                      std::string& what) {
  auto access = find_api(global);
  if (!access) {
    what = access.error().message();
    co_return Readiness::not_yet;
  }
  Api api(access.value());
  auto info = co_await api.call(http::Verb::get, "/v1/info", std::nullopt, std::chrono::seconds(5));
  if (!info) {
    what = info.error().message();
    co_return Readiness::not_yet;
  }
  auto gate = parse_endpoint(text_member(info.value(), "gateUrl"));
  if (gate && !gate.value().secure) {
    Connection connection(gate.value());
    auto reached = co_await connection.client();
    if (!reached) {
      what = "the gate does not listen yet: " + reached.error().message();
      co_return Readiness::not_yet;
    }
  }
  auto templates =
      co_await api.call(http::Verb::get, "/v1/templates", std::nullopt, std::chrono::seconds(5));
  if (!templates) {
    what = templates.error().message();
    co_return Readiness::not_yet;
  }
  std::string reason;
  std::string state = template_state(templates.value(), config.default_template, reason);
  if (state == "ready") co_return Readiness::ready;
  what = "template " + config.default_template + " is " + (state.empty() ? "not there yet" : state);
  if (state != "failed") co_return Readiness::not_yet;
  what = "the template " + config.default_template + " could not be made: " + printable(reason);
  co_return Readiness::hopeless;
}

/// The state that `supervisor` itself has written; nothing while an earlier one's is still there,
/// which tells nothing of ours: its roles may even answer until they are ended.
std::optional<ServiceState> state_of(const config::Config& config, const Process& supervisor) {
  auto state = load_state(config);
  if (!state || !state.value()) return std::nullopt;
  const ProcessName& writer = state.value()->supervisor;
  if (writer.pid != supervisor.pid() || writer.start_time != supervisor.start_time())
    return std::nullopt;
  return std::move(*state.value());
}

/// Waits until the service answers. An error tells what went wrong, with the log.
Task<Result<void>> wait_until_ready(const GlobalOptions& global, const config::Config& config,
                                    Process& supervisor) {
  auto most = config.boot_deadline * config.boot_tries + std::chrono::seconds(60);
  auto until = std::chrono::steady_clock::now() + most;
  std::string last = "its supervisor has not begun";
  while (std::chrono::steady_clock::now() < until) {
    if (supervisor.ended())
      co_return Error(ErrorCode::unavailable,
                      with_log(config, "supervisor", "hako could not be started"));
    auto state = state_of(config, supervisor);
    if (!state) {
      co_await sleep_for(kLook);
      continue;
    }
    for (const RoleState& role : state->roles)
      if (role.restarts > 0)
        co_return Error(
            ErrorCode::unavailable,
            with_log(config, role.name,
                     "the " + role.name + " could not be started (" + role.last_end + ")"));
    auto readiness = co_await probe(global, config, last);
    if (readiness == Readiness::ready) co_return ok();
    if (readiness == Readiness::hopeless)
      co_return Error(ErrorCode::unavailable, with_log(config, "node", last));
    co_await sleep_for(kLook);
  }
  co_return Error(
      ErrorCode::timed_out,
      with_log(config, "node",
               "hako was not ready after " +
                   std::to_string(std::chrono::duration_cast<std::chrono::seconds>(most).count()) +
                   " s; last: " + last));
}

void print_welcome(const config::Config& config, const Endpoint& api) {
  std::string key = config.key_file();
  print("hako is running. The API is at " + api.url + ", its key in " + key +
        "\n\nTry:\n"
        "  hako run -- uname -a                      a command in a box of its own\n"
        "  hako shell                                look around in one\n"
        "For E2B's SDKs:\n"
        "  export E2B_API_URL=" +
        api.url + " E2B_SANDBOX_URL=" + api.url + "\n  export E2B_API_KEY=$(cat " + key + ")\n");
}

/// The service this command manages is this machine's, whatever API others are told to use.
GlobalOptions local_options(const GlobalOptions& global, const config::Config& config) {
  GlobalOptions local = global;
  ::unsetenv("HAKO_API_KEY");
  ::unsetenv("E2B_API_KEY");
  bool any = config.api_address == "0.0.0.0" || config.api_address == "::";
  std::string host = any ? "127.0.0.1" : config.api_address;
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  local.api_url = "http://" + host + ":" + std::to_string(config.api_port);
  return local;
}

Task<int> up_command(GlobalOptions global) {
  if (auto refused = needs_root("up")) co_return fail(*refused);
  auto config = load_config(global);
  if (!config) co_return fail(config.error());
  global = local_options(global, config.value());
  auto endpoint = parse_endpoint(global.api_url);
  if (!endpoint) co_return fail(endpoint.error());
  auto state = load_state(config.value());
  if (!state) co_return fail(state.error());
  if (state.value() && is_alive(state.value()->supervisor)) {
    print("hako is running already: the API is at " + endpoint.value().url + "\n");
    co_return 0;
  }
  auto programs = program_directory();
  if (!programs) co_return fail(programs.error());
  // Ports of roles that lost their supervisor are still taken; the new one ends those first.
  bool left_behind = false;
  if (state.value())
    for (const RoleState& role : state.value()->roles) left_behind |= is_alive(role.process);
  if (!left_behind)
    if (auto ready = look_ahead(config.value(), programs.value()); !ready)
      co_return fail(ready.error());

  std::error_code failed;
  std::filesystem::create_directories(log_directory(config.value()), failed);
  std::string log = log_path(config.value(), "supervisor");
  auto bounded = bound_log(log, 10 << 20);
  auto output = open_file(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (!bounded || !output) co_return fail(bounded ? output.error() : bounded.error());
  ProcessSpec spec;
  spec.path = programs.value() + "/hako";
  spec.argv = {spec.path, "up", "--foreground"};
  if (std::string path = config_for_roles(global); !path.empty()) {
    spec.argv.push_back("--config");
    spec.argv.push_back(path);
  }
  for (char** variable = environ; *variable; ++variable) spec.env.emplace_back(*variable);
  spec.fds = {{output.value().get(), STDOUT_FILENO}, {output.value().get(), STDERR_FILENO}};
  auto supervisor = spawn(co_await asio::this_coro::executor, spec);
  if (!supervisor) co_return fail(supervisor.error());
  print_note("starting node, gate and API...");
  auto ready = co_await wait_until_ready(global, config.value(), supervisor.value());
  if (!ready) {
    co_await end_process(supervisor.value(), kStopTime);
    co_return fail(ready.error());
  }
  supervisor.value().release();
  print_welcome(config.value(), endpoint.value());
  co_return 0;
}

Task<int> foreground_command(GlobalOptions global) {
  if (auto refused = needs_root("up")) co_return fail(*refused);
  auto config = load_config(global);
  if (!config) co_return fail(config.error());
  start_logging("supervisor", log_level_from(config.value().log_level));
  auto programs = program_directory();
  if (!programs) co_return fail(programs.error());
  Supervisor supervisor(co_await asio::this_coro::executor, config.value(),
                        roles_of(programs.value(), config_for_roles(global)));
  auto ran = co_await supervisor.run();
  if (!ran) co_return fail(ran.error());
  co_return 0;
}

/// Asks the API to destroy every box. What cannot be destroyed so is left to the node's clean-up.
Task<void> empty_machine(GlobalOptions global) {
  auto access = find_api(global);
  if (!access) {
    print_note(access.error().message());
    co_return;
  }
  Api api(access.value());
  auto boxes = co_await list_all(api);
  if (!boxes) {
    print_note("the boxes cannot be listed: " + boxes.error().message());
    co_return;
  }
  std::vector<std::string> ids, done;
  for (const auto& box : boxes.value()) {
    // What is paused runs on nobody's machine, and is there the next time.
    if (text_member(box, "state") == "paused") continue;
    if (std::string id = text_member(box, "sandboxID"); is_box_id(id)) ids.push_back(id);
  }
  if (ids.empty()) co_return;
  print_note("destroying " + std::to_string(ids.size()) + (ids.size() == 1 ? " box" : " boxes"));
  auto gone = co_await destroy_all(access.value(), std::move(ids), done);
  if (!gone) print_note(gone.error().message());
}

Task<Result<void>> clean_up(GlobalOptions global) {
  HAKO_CO_TRY(auto programs, program_directory());
  ProcessSpec spec;
  spec.path = programs + "/hakod";
  spec.argv = {spec.path, "node", "--cleanup"};
  if (std::string path = config_for_roles(global); !path.empty()) {
    spec.argv.push_back("--config");
    spec.argv.push_back(path);
  }
  for (char** variable = environ; *variable; ++variable) spec.env.emplace_back(*variable);
  spec.fds = {{STDERR_FILENO, STDERR_FILENO}};
  HAKO_CO_TRY(auto process, spawn(co_await asio::this_coro::executor, spec));
  ExitStatus status = co_await process.wait();
  if (status.code != 0)
    co_return Error(ErrorCode::internal, "`hakod node --cleanup` ended with " + status.describe());
  co_return ok();
}

Task<int> down_command(GlobalOptions global, bool keep_boxes) {
  if (auto refused = needs_root("down")) co_return fail(*refused);
  auto config = load_config(global);
  if (!config) co_return fail(config.error());
  global = local_options(global, config.value());
  auto state = load_state(config.value());
  if (!state) co_return fail(state.error());
  bool running = false;
  if (state.value()) {
    running = is_alive(state.value()->supervisor);
    for (const RoleState& role : state.value()->roles) running |= is_alive(role.process);
  }
  if (running) {
    if (!keep_boxes) co_await empty_machine(global);
    co_await end_service(config.value(), *state.value());
  }
  // What is left of a service that was killed must not be taken for one that runs.
  ::unlink(state_path(config.value()).c_str());
  if (!keep_boxes) {
    auto cleaned = co_await clean_up(global);
    if (!cleaned) co_return fail(cleaned.error());
  }
  print(running ? "hako has stopped.\n" : "hako is not running.\n");
  co_return 0;
}

Task<int> restart_command(GlobalOptions global) {
  int stopped = co_await down_command(global, true);
  if (stopped != 0) co_return stopped;
  co_return co_await up_command(global);
}

}  // namespace

int start_service(const GlobalOptions& global, bool foreground) {
  return run_to_end([&] { return foreground ? foreground_command(global) : up_command(global); });
}

int stop_service(const GlobalOptions& global, bool keep_boxes) {
  return run_to_end([&] { return down_command(global, keep_boxes); });
}

int restart_service(const GlobalOptions& global) {
  return run_to_end([&] { return restart_command(global); });
}

}  // namespace hako::cli
