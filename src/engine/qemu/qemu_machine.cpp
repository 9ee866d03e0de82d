#include "engine/qemu/qemu_machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "base/encoding.h"
#include "engine/qemu/command_line.h"
#include "engine/qemu/qemu_state.h"

namespace hako::engine {

namespace json = boost::json;

namespace {

constexpr size_t kConsoleBytes = 64 * 1024;
constexpr size_t kMessageBytes = 8 * 1024;
constexpr size_t kMessageTail = 2 * 1024;

/// For a VMM's standard error: of fixed size, so that a guest that makes QEMU complain cannot fill
/// the host's memory, and never blocking. What does not fit is lost.
Result<Fd> make_message_file() {
  Fd file(::memfd_create("hako-vmm-messages", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return Error::from_errno(errno, "memfd_create");
  if (::ftruncate(file.get(), kMessageBytes) < 0) return Error::from_errno(errno, "ftruncate");
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
    return Error::from_errno(errno, "seal message file");
  return file;
}

std::string last_messages(const Fd& file) {
  if (!file) return {};
  std::string text(kMessageBytes, '\0');
  ssize_t n = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  text.resize(std::min(text.size(), text.find('\0')));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.size() > kMessageTail) text.erase(0, text.size() - kMessageTail);
  return text;
}

Result<Fd> listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error(ErrorCode::invalid_argument, "control path too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return Error::from_errno(errno, "socket");
  // The mode of the socket becomes that of its name, so it is never open to others.
  if (::fchmod(listener.get(), 0600) < 0) return Error::from_errno(errno, "chmod socket");
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    if (errno == EADDRINUSE)
      return Error(ErrorCode::already_exists, "control path is in use: " + path);
    return Error::from_errno(errno, "bind " + path);
  }
  if (::listen(listener.get(), 1) < 0) {
    int os_error = errno;
    ::unlink(path.c_str());
    return Error::from_errno(os_error, "listen " + path);
  }
  return listener;
}

}  // namespace

Result<QemuProcess> start_qemu(asio::any_io_executor executor, const Launcher& launcher,
                               std::vector<std::string> argv, std::vector<FdMapping> fds,
                               const std::string& control_path) {
  HAKO_TRY(auto messages, make_message_file());
  HAKO_TRY(auto listener, listen_at(control_path));
  fds.push_back({messages.get(), 2});
  fds.push_back({listener.get(), QemuFds::control});
  std::string binary = argv.front();
  // One allocation arena serves a VMM well and keeps an idle one small.
  ProcessSpec spec{std::move(binary), std::move(argv), {"MALLOC_ARENA_MAX=1"}, std::move(fds)};

  auto start = [&]() -> Result<QemuProcess> {
    HAKO_TRY(auto process, launcher(spec));
    // From here on only QEMU holds the socket: should it end, we see the connection end.
    HAKO_TRY(auto control, qmp::Client::connect(executor, control_path));
    return QemuProcess{std::move(process), std::move(control), control_path, std::move(messages)};
  };
  auto started = start();
  if (!started) ::unlink(control_path.c_str());
  return started;
}

QemuMachine::~QemuMachine() {
  if (!released_) ::unlink(qemu_.control_path.c_str());
}

MachineRecord QemuMachine::record() const {
  return {qemu_.process.pid(), qemu_.process.start_time(), qemu_.control_path, base_};
}

Error QemuMachine::explain(Error error) {
  std::string text = last_messages(qemu_.messages);
  if (error.code() == ErrorCode::unavailable || !text.empty()) {
    std::string context = qemu_.process.ended() ? "VMM ended" : "VMM runs";
    if (!text.empty()) context += " and wrote: " + text;
    error = std::move(error).with_context(context);
  }
  return error;
}

Task<Result<std::string>> QemuMachine::run_state() {
  qmp::Command query{"query-status", {}};
  auto answer = co_await qemu_.control.call(std::move(query), timeout_);
  if (!answer) co_return explain(answer.error());
  co_return status_in(answer.value());
}

Task<Result<void>> QemuMachine::order(std::string name) {
  qmp::Command command{std::move(name), {}};
  auto answer = co_await qemu_.control.call(std::move(command), timeout_);
  if (answer) co_return ok();
  ErrorCode code = answer.error().code();
  Error error = explain(answer.error());
  if (code == ErrorCode::timed_out) co_return error;
  co_return Error(ErrorCode::unavailable, error.message());
}

Task<Result<void>> QemuMachine::pause() {
  HAKO_CO_TRYV(co_await order("stop"));
  HAKO_CO_TRY(auto state, co_await run_state());
  if (state != "paused")
    co_return Error(ErrorCode::unavailable, "VMM is in state " + state + " after stop");
  co_return ok();
}

Task<Result<void>> QemuMachine::resume() {
  // No look at the state afterwards: QEMU refuses where it cannot go on, and a monitor that shares
  // its lock with a CPU that has just begun to run takes milliseconds to answer.
  co_return co_await order("cont");
}

Task<Result<void>> QemuMachine::check_health() {
  HAKO_CO_TRY(auto state, co_await run_state());
  if (state != "running" && state != "paused")
    co_return Error(ErrorCode::unavailable, "VMM is in state " + state);
  co_return ok();
}

Task<Result<std::string>> QemuMachine::console_tail() {
  qmp::Command command{"ringbuf-read", {}};
  command.arguments["device"] = "console";
  command.arguments["size"] = kConsoleBytes;
  command.arguments["format"] = "base64";
  auto answer = co_await qemu_.control.call(std::move(command), timeout_);
  if (!answer) co_return explain(answer.error());
  const json::string* text = answer.value().if_string();
  auto bytes = text ? base64_decode({text->data(), text->size()}) : std::nullopt;
  if (!bytes) co_return Error(ErrorCode::corrupted, "VMM: console is not base64");
  console_ += *bytes;  // reading takes it out of QEMU's buffer
  if (console_.size() > kConsoleBytes) console_.erase(0, console_.size() - kConsoleBytes);
  co_return console_;
}

Task<void> QemuMachine::kill() {
  co_await qemu_.process.kill();
}

Task<ExitStatus> QemuMachine::wait_end() {
  co_return co_await qemu_.process.wait();
}

void QemuMachine::release() {
  released_ = true;
  qemu_.process.release();
}

Task<Result<void>> QemuMachine::wait_started(Duration limit) {
  auto started = qemu_.process.started();
  auto in_time = co_await with_deadline(limit, std::move(started));
  if (!in_time) co_return in_time.error().with_context("start the VMM's program");
  co_return ok();
}

Task<Result<void>> QemuMachine::begin(Duration limit) {
  HAKO_CO_TRYV(co_await wait_started(limit));
  std::vector<qmp::Command> commands;
  commands.push_back({"qmp_capabilities", {}});
  commands.push_back({"cont", {}});
  auto answers = co_await qemu_.control.call_all(std::move(commands), limit);
  if (!answers) co_return explain(answers.error());
  HAKO_CO_TRY(auto state, co_await run_state());
  if (state != "running")
    co_return Error(ErrorCode::unavailable, "VMM is in state " + state + " after its start");
  co_return ok();
}

Task<Result<void>> QemuMachine::load(const std::string& state, const MemoryDelta* over,
                                     Duration limit) {
  HAKO_CO_TRYV(co_await wait_started(limit));
  HAKO_CO_TRY(auto source, make_state_source(state));
  // All in one write, even before QEMU has opened the channel: nothing waits for a reply.
  std::vector<qmp::Command> commands;
  if (over) {
    HAKO_CO_TRYV(co_await fill_memory(*over, limit));
  } else {
    commands.push_back({"qmp_capabilities", {}});
  }
  commands.push_back({"migrate-set-capabilities", migration_capabilities()});
  commands.push_back({"getfd", {{"fdname", "state"}}});
  commands.push_back({"migrate-incoming", {{"uri", "fd:state"}}});
  auto answers = co_await qemu_.control.call_all(std::move(commands), limit, source.get());
  if (!answers) co_return explain(answers.error());
  source.reset();

  // A list in braces inside the call would be destroyed twice by GCC 12.
  std::vector<std::string> ends{"completed", "failed"};
  auto status = co_await qemu_.control.wait_status("MIGRATION", std::move(ends), timeout_);
  if (!status && status.error().code() == ErrorCode::timed_out)
    co_return explain(Error(ErrorCode::timed_out, "load device state: deadline passed"));
  // QEMU ends itself when it does not like a state.
  if (!status || status.value() != "completed") {
    std::string text = last_messages(qemu_.messages);
    co_return Error(ErrorCode::corrupted,
                    "VMM refused the device state" + (text.empty() ? text : ": " + text));
  }
  HAKO_CO_TRY(auto now, co_await run_state());
  if (now != "paused")
    co_return Error(ErrorCode::unavailable, "VMM is in state " + now + " after its restore");
  co_return ok();
}

Task<Result<void>> QemuMachine::greet() {
  qmp::Command command{"qmp_capabilities", {}};
  auto answer = co_await qemu_.control.call(std::move(command), timeout_);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<Result<std::string>> QemuMachine::save() {
  HAKO_CO_TRY(auto ends, make_pipe());
  std::vector<qmp::Command> commands;
  commands.push_back({"stop", {}});
  commands.push_back({"migrate-set-capabilities", migration_capabilities()});
  commands.push_back({"getfd", {{"fdname", "state"}}});
  commands.push_back({"migrate", {{"uri", "fd:state"}}});
  auto answers = co_await qemu_.control.call_all(std::move(commands), timeout_, ends.second.get());
  if (!answers) co_return explain(answers.error()).with_context("stop and save");
  ends.second.reset();
  auto state = co_await with_deadline(timeout_, drain_state(std::move(ends.first)));
  if (!state) co_return explain(state.error()).with_context("read the device state");
  std::vector<std::string> statuses{"completed", "failed"};
  auto status = co_await qemu_.control.wait_status("MIGRATION", std::move(statuses), timeout_);
  if (!status) co_return explain(status.error());
  if (status.value() != "completed")
    co_return explain(Error(ErrorCode::unavailable, "VMM could not save its device state"));
  co_return std::move(state.value());
}

Task<void> QemuMachine::quit() {
  qmp::Command command{"quit", {}};
  auto asked = co_await qemu_.control.call(std::move(command), timeout_);
  if (asked) {
    auto ended = co_await with_deadline(timeout_, qemu_.process.wait_end());
    if (ended) co_return;
  }
  co_await kill();
}

}  // namespace hako::engine
