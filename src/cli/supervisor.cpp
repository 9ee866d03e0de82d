#include "cli/supervisor.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <csignal>

#include "base/async/lasting.h"
#include "base/log.h"
#include "base/start_signal.h"
#include "base/unfinished.h"

namespace hako::cli {
namespace {

constexpr off_t kLogLimit = 10 << 20;
constexpr std::chrono::seconds kGrace{20};
constexpr std::chrono::milliseconds kFirstDelay{500};
constexpr std::chrono::seconds kLongestDelay{10};
/// A role that ran this long was well: its next end is a new story.
constexpr std::chrono::seconds kWell{10};

/// The roles get no more of our environment than they need.
std::vector<std::string> role_environment() {
  std::vector<std::string> variables{
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
  for (char** variable = environ; *variable; ++variable) {
    std::string_view text = *variable;
    // Clients' settings, a key among them, are not the roles' business.
    if (text.starts_with("HAKO_") && !text.starts_with("HAKO_API_KEY=") &&
        !text.starts_with("HAKO_API_URL=") && !text.starts_with("HAKO_START_SIGNAL="))
      variables.emplace_back(text);
  }
  return variables;
}

Result<void> make_directory(const std::string& path, mode_t mode) {
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failed);
  if (::mkdir(path.c_str(), mode) < 0 && errno != EEXIST)
    return Error::from_errno(errno, "make directory " + path);
  return ok();
}

}  // namespace

std::vector<Role> roles_of(const std::string& directory, const std::string& config_path) {
  std::vector<std::string> tail;
  if (!config_path.empty()) tail = {"--config", config_path};
  std::vector<Role> roles{{"node", directory + "/hakod", {"node"}},
                          {"gate", directory + "/hako-gate", {}},
                          {"api", directory + "/hakod", {"api"}}};
  for (Role& role : roles) role.arguments.insert(role.arguments.end(), tail.begin(), tail.end());
  return roles;
}

Result<std::string> program_directory() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n < 0) return Error::from_errno(errno, "read /proc/self/exe");
  return std::filesystem::path(std::string_view(path, static_cast<size_t>(n)))
      .parent_path()
      .string();
}

Task<void> end_process(Process& process, Duration grace) {
  process.send_signal(SIGTERM);
  auto wait = process.wait_end();
  auto in_time = co_await with_deadline(grace, std::move(wait));
  if (!in_time) co_await process.kill();
}

Supervisor::Supervisor(asio::any_io_executor executor, config::Config config,
                       std::vector<Role> roles)
    : executor_(executor), config_(std::move(config)), tasks_(executor) {
  for (Role& role : roles) {
    state_.roles.push_back(RoleState{role.name, {}, 0, {}});
    running_.push_back(Running{std::move(role), std::nullopt});
  }
}

Result<void> Supervisor::publish() {
  auto saved = save_state(config_, state_);
  if (!saved) log_warn("state not saved", {{"error", saved.error().message()}});
  return saved;
}

Task<Result<void>> Supervisor::end_leftovers() {
  auto before = load_state(config_);
  if (!before || !before.value()) co_return ok();
  auto& roles = before.value()->roles;
  for (auto role = roles.rbegin(); role != roles.rend(); ++role) {
    if (role->process.pid == 0) continue;
    auto process = Process::adopt(executor_, role->process.pid, role->process.start_time);
    if (!process) continue;
    log_info("ending a role that was left behind", {{"role", role->name}});
    co_await end_process(process.value(), kGrace);
  }
  co_return ok();
}

Result<StartSignal> Supervisor::start(size_t index) {
  Running& running = running_[index];
  RoleState& state = state_.roles[index];
  std::string path = log_path(config_, running.role.name);
  HAKO_TRY(auto output, open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0600));
  ProcessSpec spec;
  spec.path = running.role.path;
  spec.argv.push_back(running.role.path);
  spec.argv.insert(spec.argv.end(), running.role.arguments.begin(), running.role.arguments.end());
  spec.env = role_environment();
  spec.fds = {{output.get(), STDOUT_FILENO}, {output.get(), STDERR_FILENO}};
  HAKO_TRY(auto signal, StartSignal::add_to(spec));
  auto process = spawn(executor_, spec);
  if (!process) return process.error().with_context("start " + running.role.name);
  state.process = ProcessName{process.value().pid(), process.value().start_time()};
  running.process.emplace(std::move(process.value()));
  return signal;
}

Task<std::string> Supervisor::run_once(size_t index) {
  std::string unknown;
  // One that could not be waited for runs on.
  if (!running_[index].process) {
    auto signal = start(index);
    if (!signal) co_return signal.error().message();
    // Not given, it ends the role: nobody would find it again.
    if (auto published = publish(); published)
      signal.value().give();
    else
      unknown = "not let run, as it cannot be written down: " + published.error().message();
  }
  ExitStatus status = co_await running_[index].process->wait();
  running_[index].process.reset();
  co_return unknown.empty() ? status.describe() : unknown;
}

Task<void> Supervisor::keep_running(size_t index) {
  RoleState& state = state_.roles[index];
  Duration delay = kFirstDelay;
  while (true) {
    auto began = std::chrono::steady_clock::now();
    state.last_end = co_await run_once(index);
    state.process = {};
    ++state.restarts;
    (void)publish();
    if (std::chrono::steady_clock::now() - began >= kWell) delay = kFirstDelay;
    log_error("role ended", {{"role", state.name}, {"how", state.last_end}});
    co_await sleep_for(delay);
    delay = std::min<Duration>(delay * 2, kLongestDelay);
  }
}

Task<void> Supervisor::bound_logs() {
  while (true) {
    co_await sleep_for(std::chrono::seconds(30));
    std::vector<std::string> names{"supervisor"};
    for (const RoleState& role : state_.roles) names.push_back(role.name);
    for (const std::string& name : names)
      if (auto bounded = bound_log(log_path(config_, name), kLogLimit); !bounded)
        log_warn("log not bounded", {{"log", name}, {"error", bounded.error().message()}});
  }
}

Task<Result<void>> Supervisor::run() {
  HAKO_CO_TRYV(make_directory(config_.run_dir, 0755));
  HAKO_CO_TRYV(make_directory(config_.state_dir, 0755));
  HAKO_CO_TRYV(make_directory(log_directory(config_), 0700));
  HAKO_CO_TRY(lock_, open_file(config_.run_dir + "/up.lock", O_RDWR | O_CREAT, 0600));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) < 0)
    co_return Error(ErrorCode::already_exists, "hako is running already on this machine");
  remove_unfinished(state_path(config_));
  HAKO_CO_TRYV(co_await end_leftovers());
  for (const RoleState& role : state_.roles) {
    HAKO_CO_TRYV(bound_log(log_path(config_, role.name), kLogLimit));
  }

  state_.supervisor.pid = ::getpid();
  HAKO_CO_TRY(state_.supervisor.start_time, process_start_time(::getpid()));
  HAKO_CO_TRYV(save_state(config_, state_));
  asio::signal_set stop(executor_, SIGTERM, SIGINT);
  for (size_t i = 0; i < running_.size(); ++i) {
    std::string name = "keep " + running_[i].role.name;
    tasks_.spawn(name, lasting(name, [this, i] { return keep_running(i); }));
  }
  tasks_.spawn("bound logs", lasting("bound logs", [this] { return bound_logs(); }));
  co_await stop.async_wait(asio::use_awaitable);

  log_info("stopping");
  co_await tasks_.stop();
  for (auto running = running_.rbegin(); running != running_.rend(); ++running)
    if (running->process) co_await end_process(*running->process, kGrace);
  ::unlink(state_path(config_).c_str());
  co_return ok();
}

}  // namespace hako::cli
