#include "cli/session.h"

#include "base/log.h"
#include "cli/options.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr size_t kInputPiece = 512 << 10;
constexpr size_t kOutputPiece = 256 << 10;
constexpr size_t kLargestFrame = 4 << 20;

/// The box's answer to input may take as long as the command does not read.
constexpr Duration kInputTime = std::chrono::hours(24 * 30);

}  // namespace

std::optional<int> start_failure_status(const Error& error) {
  const std::string& text = error.message();
  auto says = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  // The working directory is the caller's mistake, not the command's.
  if (text.starts_with("cwd ")) return std::nullopt;
  if (error.code() == ErrorCode::permission_denied || says("ermission denied") ||
      says("xec format error") || says("s a directory"))
    return kCannotRun;
  if (says("o such file") || says("not found")) return kNotFound;
  return std::nullopt;
}

Session::Session(asio::any_io_executor executor, BoxAccess box, std::string user)
    : box_(std::move(box)),
      user_(std::move(user)),
      stream_(box_.data),
      input_(box_, user_),
      control_(box_, user_),
      tasks_(std::move(executor)),
      decoder_(kLargestFrame) {}

wire::ProcessSelector Session::self() const {
  return wire::ProcessSelector{.pid = pid_};
}

Task<Result<int>> Session::run(Spec spec, CommandStreams streams) {
  std::optional<Result<int>> result;
  std::exception_ptr fault;
  try {
    result.emplace(co_await follow(std::move(spec), streams));
  } catch (...) {
    fault = std::current_exception();
  }
  // The input pump uses what belongs to us and to the caller.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await tasks_.stop();
  if (fault) std::rethrow_exception(fault);
  co_return std::move(*result);
}

Task<Result<int>> Session::follow(Spec spec, CommandStreams streams) {
  to_pty_ = spec.start.pty.has_value();
  spec.start.has_stdin = streams.in != nullptr;
  auto request =
      box_request(box_, user_, http::Verb::post,
                  stream_.endpoint().prefix + "/process.Process/Start", wire::kConnectStreamType);
  request.fields.set(http::Field::host, stream_.endpoint().authority());
  request.fields.set("Connect-Protocol-Version", "1");
  if (spec.timeout)
    request.fields.set("Connect-Timeout-Ms", std::to_string(spec.timeout->count() * 1000));
  size_t frame = wire::begin_frame(request.body);
  request.body += json::serialize(wire::to_json(spec.start));
  wire::end_frame(request.body, frame);

  auto connected = co_await stream_.client();
  if (!connected) co_return unreachable(box_.data, connected.error());
  http::Client& client = *connected.value();
  auto sent = client.start(std::move(request));
  auto head = co_await with_deadline(kRequestTime, std::move(sent));
  if (!head) co_return unreachable(box_.data, head.error());

  std::vector<char> buffer(kOutputPiece);
  if (head.value().status != 200) {
    std::string body;
    while (body.size() < kOutputPiece) {
      auto n = co_await client.read_some(asio::buffer(buffer));
      if (!n || n.value() == 0) break;
      body.append(buffer.data(), n.value());
    }
    co_return box_error(box_, head.value().status, body);
  }
  while (true) {
    auto n = co_await client.read_some(asio::buffer(buffer));
    if (!n || n.value() == 0) {
      stream_.drop();
      if (status_ && n) co_return *status_;
      co_return Error(ErrorCode::unavailable,
                      "the connection to box " + box_.id +
                          " broke before the command had ended: the box has been destroyed, its "
                          "time has run out, or the daemon was stopped");
    }
    decoder_.feed(std::string_view(buffer.data(), n.value()));
    HAKO_CO_TRY(auto finished, co_await take_frames(streams));
    if (finished) co_return *finished;
    if (pid_ != 0 && streams.in) {
      tasks_.spawn("input", pump_input(streams.in, to_pty_));
      streams.in = nullptr;
    }
  }
}

Task<Result<std::optional<int>>> Session::take_frames(CommandStreams streams) {
  while (true) {
    HAKO_CO_TRY(auto frame, decoder_.next());
    if (!frame) co_return std::optional<int>{};
    if (frame->is_end()) {
      auto end = wire::parse_end_frame(frame->payload);
      if (end && status_) co_return status_;
      if (end) co_return Error(ErrorCode::corrupted, "the box did not say how the command ended");
      Error error(end.error().code(), printable_field(end.error().message()));
      auto status = started() ? std::nullopt : start_failure_status(error);
      if (!status) co_return error;
      problem_ = error.message();
      co_return status;
    }
    HAKO_CO_TRY(auto event, wire::parse_process_event(frame->payload));
    switch (event.kind) {
      case wire::ProcessEvent::Kind::start:
        if (event.pid == 0) co_return Error(ErrorCode::corrupted, "the box named no process");
        pid_ = event.pid;
        break;
      case wire::ProcessEvent::Kind::data: {
        ByteSink* sink = event.stream == wire::OutputStream::err ? streams.err : streams.out;
        if (sink) {
          HAKO_CO_TRYV(co_await sink->write(asio::buffer(event.bytes)));
        }
        break;
      }
      case wire::ProcessEvent::Kind::end:
        status_ = passed_exit_status(event.end.exit_code, event.end.exited, event.end.status);
        break;
      case wire::ProcessEvent::Kind::keepalive:
      case wire::ProcessEvent::Kind::unknown:
        break;
    }
  }
}

Task<void> Session::pump_input(ByteSource* in, bool to_pty) {
  using namespace asio::experimental::awaitable_operators;
  std::vector<char> current(kInputPiece), next(kInputPiece);
  auto first = co_await in->read_some(asio::buffer(current));
  size_t filled = first ? first.value() : 0;
  while (filled > 0) {
    auto body = wire::input_request(self(), to_pty, std::string_view(current.data(), filled));
    // The next piece is read while this one is on its way.
    auto sent = input_.call("process.Process/SendInput", std::move(body), kInputTime);
    auto read = in->read_some(asio::buffer(next));
    auto [answer, more] = co_await (std::move(sent) && std::move(read));
    // The command reads no more. If it is the box that failed, the output tells.
    if (!answer) co_return;
    filled = more ? more.value() : 0;
    std::swap(current, next);
  }
  if (to_pty) {
    // A terminal has no end of input but the character that means it.
    auto body = wire::input_request(self(), true, "\x04");
    auto sent = co_await input_.call("process.Process/SendInput", std::move(body), kInputTime);
    if (!sent) log_debug("input not ended", {{"error", sent.error().message()}});
    co_return;
  }
  json::object close{{"process", wire::to_json(self())}};
  auto closed = co_await input_.call("process.Process/CloseStdin", json::serialize(close));
  if (!closed) log_debug("input not closed", {{"error", closed.error().message()}});
}

Task<Result<void>> Session::send_signal(std::string name) {
  if (!started()) co_return ok();
  json::object body{{"process", wire::to_json(self())}, {"signal", name}};
  auto sent = co_await control_.call("process.Process/SendSignal", json::serialize(body));
  if (!sent) co_return sent.error();
  co_return ok();
}

Task<Result<void>> Session::resize(wire::PtySize size) {
  if (!started()) co_return ok();
  json::object dimensions{{"cols", size.cols}, {"rows", size.rows}};
  json::object pty{{"size", dimensions}};
  json::object body{{"process", wire::to_json(self())}, {"pty", pty}};
  auto sent = co_await control_.call("process.Process/Update", json::serialize(body));
  if (!sent) co_return sent.error();
  co_return ok();
}

}  // namespace hako::cli
