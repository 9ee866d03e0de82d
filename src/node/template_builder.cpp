#include "node/template_builder.h"

#include "base/log.h"

namespace hako::node {
namespace {

constexpr auto kReadyTime = std::chrono::minutes(5);
constexpr auto kReadyCheckTime = std::chrono::seconds(60);
constexpr auto kReadyPause = std::chrono::milliseconds(250);
constexpr auto kWarmTime = std::chrono::seconds(60);
constexpr int kFreezeTries = 4;
constexpr size_t kOutputKept = 4096;
constexpr size_t kConsoleShown = 2000;

/// Run once before the capture, so that programs nearly every box starts are in its page cache,
/// which all clones share.
const std::vector<std::vector<std::string>>& warm_commands() {
  static const std::vector<std::vector<std::string>> commands = {
      {"/bin/true"},
      {"/bin/echo", "warm"},
      {"/bin/bash", "-l", "-c", "ls / >/dev/null; cat /etc/hostname >/dev/null"},
      {"/usr/bin/python3", "-c", "import json, os, subprocess, uuid, secrets"},
  };
  return commands;
}

/// The end of hostile text, cut at a line where there is one.
std::string tail(const std::string& text, size_t length) {
  if (text.size() <= length) return text;
  size_t start = text.find('\n', text.size() - length);
  return text.substr(start == std::string::npos ? text.size() - length : start + 1);
}

Task<void> note_ready(Context& context, std::string machine, std::optional<Result<void>>& ready) {
  ready.emplace(co_await context.gate.wait_ready(machine, context.config.boot_deadline));
}

Task<void> note_end(Vm& vm, std::optional<ExitStatus>& ended) {
  ended = co_await vm.boot_ended();
}

/// Waits until the guest answers, its VMM ends, or the deadline passes.
Task<Result<void>> wait_ready(Context& context, Vm& vm) {
  using namespace asio::experimental::awaitable_operators;
  std::optional<Result<void>> ready;
  std::optional<ExitStatus> ended;
  auto answering = note_ready(context, vm.record().machine, ready);
  auto ending = note_end(vm, ended);
  co_await (std::move(answering) || std::move(ending));
  if (ready) co_return *ready;
  co_return Error(ErrorCode::timed_out,
                  "the VMM ended: " + (ended ? ended->describe() : std::string("unknown")));
}

}  // namespace

Task<Result<std::unique_ptr<Vm>>> boot_guest(Context& context, const Vm::ColdBoot& boot) {
  Error last(ErrorCode::timed_out, "no boot was tried");
  for (int attempt = 1; attempt <= context.config.boot_tries; ++attempt) {
    auto booted = co_await Vm::boot(context, boot);
    if (!booted) co_return booted.error();
    auto vm = std::move(booted).value();
    auto ready = co_await wait_ready(context, *vm);
    if (ready) co_return std::move(vm);
    auto no_memory = co_await vm->out_of_memory();
    if (no_memory) ready = Error(ready.error().code(), std::move(*no_memory));
    std::string console = co_await vm->boot_console();
    co_await vm->destroy();
    last = ready.error().with_context("the guest of template '" + boot.template_name +
                                      "' did not come up (try " + std::to_string(attempt) + " of " +
                                      std::to_string(context.config.boot_tries) + ")");
    log_warn("boot_failed", {{"template", boot.template_name},
                             {"attempt", attempt},
                             {"error", ready.error().message()},
                             {"console", tail(console, kConsoleShown)}});
    if (ready.error().code() == ErrorCode::unavailable) co_return last;  // no gate: not the guest
    if (!console.empty())
      last = Error(last.code(),
                   last.message() + "; its console ends: " + tail(console, kConsoleShown));
  }
  co_return last;
}

namespace {

GateLink::Command as_root(std::string program, std::vector<std::string> arguments) {
  GateLink::Command command;
  command.cmd = std::move(program);
  command.args = std::move(arguments);
  command.user = "root";
  command.cwd = "/";
  return command;
}

/// A command line of the template's, as its boxes would run it. Images without bash have sh.
GateLink::Command in_shell(const Startup& startup, const std::string& line) {
  GateLink::Command command;
  command.cmd = "/bin/sh";
  command.args = {"-c",
                  "if [ -x /bin/bash ]; then exec /bin/bash -l -c \"$1\"; "
                  "else exec /bin/sh -l -c \"$1\"; fi",
                  "sh", line};
  command.user = startup.defaults.user;
  command.cwd = startup.defaults.workdir;
  command.envs = startup.defaults.envs;
  return command;
}

Task<Result<void>> wait_until_ready(Context& context, Vm& vm, const Startup& startup) {
  auto give_up = std::chrono::steady_clock::now() + kReadyTime;
  for (;;) {
    auto command = in_shell(startup, startup.ready_cmd);
    auto result = co_await context.gate.exec(vm.record().machine, std::move(command),
                                             kReadyCheckTime, kOutputKept);
    if (result && result.value().exit_code == 0) co_return ok();
    if (!result && result.error().code() == ErrorCode::unavailable) co_return result.error();
    if (std::chrono::steady_clock::now() >= give_up)
      co_return Error(ErrorCode::timed_out, "its ready command does not succeed");
    co_await sleep_for(kReadyPause);
  }
}

Task<Result<void>> start_programs(Context& context, Vm& vm, const Startup& startup) {
  if (!startup.start_cmd.empty()) {
    // In the background, with its output going nowhere, as that of a program nobody follows.
    auto command = in_shell(startup, "{ " + startup.start_cmd + "\n} </dev/null >/dev/null 2>&1 &");
    auto result = co_await context.gate.exec(vm.record().machine, std::move(command),
                                             kReadyCheckTime, kOutputKept);
    if (!result) co_return result.error().with_context("run its start command");
  }
  if (startup.ready_cmd.empty()) co_return ok();
  co_return co_await wait_until_ready(context, vm, startup);
}

}  // namespace

Task<Result<void>> settle_guest(Context& context, Vm& vm) {
  for (const auto& words : warm_commands()) {
    GateLink::Command command;
    command.cmd = words[0];
    command.args.assign(words.begin() + 1, words.end());
    command.cwd = "/";
    auto result =
        co_await context.gate.exec(vm.record().machine, std::move(command), kWarmTime, kOutputKept);
    // An image need not have all of them; what it lacks is simply not warmed.
    if (!result && result.error().code() == ErrorCode::unavailable) co_return result.error();
  }
  // Whatever is left running would live on in every clone, its random state included. (-1 is every
  // process but PID 1 and the caller.)
  auto end_all = as_root("/bin/sh", {"-c", "kill -KILL -1; true"});
  auto result =
      co_await context.gate.exec(vm.record().machine, std::move(end_all), kWarmTime, kOutputKept);
  if (!result) co_return result.error().with_context("end the programs left running");
  co_return ok();
}

Task<Result<void>> sync_guest(Context& context, Vm& vm) {
  auto sync = as_root("/bin/sh", {"-c", "sync"});
  auto result =
      co_await context.gate.exec(vm.record().machine, std::move(sync), kWarmTime, kOutputKept);
  if (!result) co_return result.error().with_context("write the guest's disk out");
  co_return ok();
}

namespace {

/// A box that is copied may stand still for so long and no longer; here nobody waits, so a disk of the
/// host that is slow for a while is no reason to give a build up.
Task<Result<void>> freeze_guest(Context& context, const std::string& machine) {
  for (int attempt = 1;; ++attempt) {
    auto frozen = co_await context.gate.freeze(machine);
    if (frozen) co_return ok();
    Error error = std::move(frozen).error().with_context("stop the guest's programs");
    if (error.code() == ErrorCode::unsupported || attempt == kFreezeTries) co_return error;
    log_warn("freeze_again", {{"machine", machine}, {"error", error.message()}});
    // It may have stopped them after all, too late to say so.
    HAKO_CO_TRYV(co_await context.gate.thaw(machine));
  }
}

}  // namespace

Task<Result<engine::Snapshot>> capture_guest(Context& context, std::unique_ptr<Vm> vm,
                                             std::string disk) {
  Result<void> done = co_await sync_guest(context, *vm);
  if (done) {
    // Once more, last of all: clones start from a generator that is not due for a reseed of its
    // own, so that one which is missing in them shows.
    boost::json::object no_environment;
    done = co_await vm->identify("template", std::move(no_environment));
  }
  // What runs in it goes on in each clone when that has an identity of its own, not before.
  if (done) done = co_await freeze_guest(context, vm->record().machine);
  if (done) done = co_await context.gate.quiesce(vm->record().machine);
  if (!done) {
    co_await vm->destroy();
    co_return done.error().with_context("make the guest ready for its capture");
  }
  co_return co_await Vm::capture(std::move(vm), std::move(disk));
}

Task<Result<engine::Snapshot>> make_snapshot(Context& context, Vm::ColdBoot boot, Startup startup,
                                             std::string disk) {
  auto started = co_await boot_guest(context, boot);
  if (!started) co_return started.error();
  auto vm = std::move(started).value();
  boost::json::object no_environment;
  std::string name = "template";
  Result<void> done = co_await vm->identify(name, std::move(no_environment));
  if (done) done = co_await settle_guest(context, *vm);
  if (done) done = co_await start_programs(context, *vm, startup);
  if (!done) {
    co_await vm->destroy();
    co_return done.error();
  }
  co_return co_await capture_guest(context, std::move(vm), std::move(disk));
}

}  // namespace hako::node
