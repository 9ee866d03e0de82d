#include "node/template_builder.h"

#include "base/log.h"

namespace hako::node {
namespace {

constexpr auto kTemplateIdentifyTime = std::chrono::seconds(10);
constexpr auto kStepTime = std::chrono::minutes(30);
constexpr auto kWarmTime = std::chrono::seconds(60);
constexpr size_t kStepOutput = 64 << 10;
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

Task<void> note_end(Vm& vm, std::optional<ExitStatus>& ended) { ended = co_await vm.boot_ended(); }

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

Task<Result<std::unique_ptr<Vm>>> boot_until_ready(Context& context, const Vm::ColdBoot& boot) {
  Error last(ErrorCode::timed_out, "no boot was tried");
  for (int attempt = 1; attempt <= context.config.boot_tries; ++attempt) {
    auto booted = co_await Vm::boot(context, boot);
    if (!booted) co_return booted.error();
    auto vm = std::move(booted).value();
    auto ready = co_await wait_ready(context, *vm);
    if (ready) co_return std::move(vm);
    std::string console = co_await vm->boot_console();
    co_await vm->destroy();
    last = ready.error().with_context("the guest of template '" + boot.template_name +
                                      "' did not come up (try " + std::to_string(attempt) +
                                      " of " + std::to_string(context.config.boot_tries) + ")");
    log_warn("boot_failed", {{"template", boot.template_name},
                             {"attempt", attempt},
                             {"error", ready.error().message()},
                             {"console", tail(console, kConsoleShown)}});
    if (ready.error().code() == ErrorCode::unavailable) co_return last;  // no gate: not the guest
    if (!console.empty())
      last = Error(last.code(), last.message() + "; its console ends: " +
                                    tail(console, kConsoleShown));
  }
  co_return last;
}

Task<Result<std::string>> run_steps(Context& context, Vm& vm, std::vector<BuildStep> steps) {
  std::string log;
  for (const BuildStep& step : steps) {
    log += "$ " + step.command + "\n";
    GateLink::Command command;
    command.cmd = "/bin/sh";
    command.args = {"-c", step.command};
    command.user = step.user.empty() ? "root" : step.user;
    auto result = co_await context.gate.exec(vm.record().machine, std::move(command), kStepTime,
                                             kStepOutput);
    if (!result) co_return result.error().with_context("step '" + step.command + "'");
    log += result.value().output;
    if (result.value().exit_code != 0)
      co_return Error(ErrorCode::failed_precondition,
                      "step '" + step.command + "' ended with status " +
                          std::to_string(result.value().exit_code) + ":\n" +
                          result.value().output);
  }
  co_return std::move(log);
}

}  // namespace

Task<Result<BuiltSnapshot>> build_snapshot(Context& context, Vm::ColdBoot boot,
                                           std::vector<BuildStep> steps, std::string disk) {
  auto started = co_await boot_until_ready(context, boot);
  if (!started) co_return started.error();
  auto vm = std::move(started).value();

  BuiltSnapshot built;
  boost::json::object no_environment;
  Result<void> done = co_await vm->identify("template", std::move(no_environment), kTemplateIdentifyTime);
  if (done) {
    auto log = co_await run_steps(context, *vm, std::move(steps));
    if (log)
      built.log = std::move(log).value();
    else
      done = log.error();
  }
  if (done) {
    for (const auto& words : warm_commands()) {
      GateLink::Command command;
      command.cmd = words[0];
      command.args.assign(words.begin() + 1, words.end());
      auto result = co_await context.gate.exec(vm->record().machine, std::move(command),
                                               kWarmTime, kStepOutput);
      // An image need not have all of them; what it lacks is simply not warmed.
      if (!result && result.error().code() == ErrorCode::unavailable) {
        done = result.error();
        break;
      }
    }
  }
  if (done) {
    // Whatever a step left running would live on in every clone, its random state included. (-1 is
    // every process but PID 1 and the caller.)
    GateLink::Command end_all;
    end_all.cmd = "/bin/sh";
    end_all.args = {"-c", "kill -KILL -1; true"};
    end_all.user = "root";
    auto result = co_await context.gate.exec(vm->record().machine, std::move(end_all), kWarmTime,
                                             kStepOutput);
    if (!result) done = result.error().with_context("end the steps' programs");
  }
  if (done) {
    GateLink::Command sync;
    sync.cmd = "/bin/sync";
    sync.user = "root";
    auto result = co_await context.gate.exec(vm->record().machine, std::move(sync), kWarmTime,
                                             kStepOutput);
    if (!result) done = result.error().with_context("write the guest's disk out");
  }
  if (done) {
    // Once more, last of all: clones start from a generator that is not due for a reseed of its own,
    // so that one which is missing in them shows.
    boost::json::object none;
    done = co_await vm->identify("template", std::move(none), kTemplateIdentifyTime);
  }
  if (done) done = co_await context.gate.quiesce(vm->record().machine);
  if (!done) {
    co_await vm->destroy();
    co_return done.error();
  }
  auto captured = co_await Vm::capture(std::move(vm), std::move(disk));
  if (!captured) co_return captured.error();
  built.memory = std::move(captured).value();
  co_return std::move(built);
}

}  // namespace hako::node
