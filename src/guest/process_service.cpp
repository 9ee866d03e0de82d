#include "guest/process_service.h"

#include <sys/stat.h>

#include "guest/environment.h"
#include "guest/headers.h"
#include "guest/paths.h"
#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::guest {
namespace {

using namespace asio::experimental::awaitable_operators;

/// Longer deadlines are as good as none, and fit every clock.
constexpr uint64_t kLongestDeadlineMs = 10ull * 365 * 24 * 3600 * 1000;
constexpr size_t kInputPiece = 64 << 10;

/// Detaches when the stream ends, however it does.
class Attachment {
 public:
  explicit Attachment(std::shared_ptr<Process> process)
      : process_(std::move(process)), subscription_(process_->subscribe()) {}
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  ~Attachment() { process_->unsubscribe(subscription_); }

  Process& process() { return *process_; }
  Subscription& subscription() { return *subscription_; }

 private:
  std::shared_ptr<Process> process_;
  std::shared_ptr<Subscription> subscription_;
};

enum class Starter { this_stream, another };

Task<void> send_events(Call& call, Attachment& attachment, Starter starter) {
  auto keepalive = call.keepalive();
  Subscription& subscription = attachment.subscription();
  std::string frames;
  for (;;) {
    bool news = co_await subscription.wait(keepalive);
    subscription.take(frames);
    attachment.process().room_made();
    if (!news) wire::append_keepalive_event(frames);
    bool last = subscription.ended();
    if (last && starter == Starter::this_stream && attachment.process().deadline_passed()) {
      wire::append_end_frame(frames, Error(ErrorCode::timed_out, "the deadline has passed"));
    } else if (last) {
      wire::append_end_frame(frames);
    }
    auto sent = co_await call.send(frames, last);
    if (!sent || last) co_return;
  }
}

/// Streams the events of `process` until its end or until the client leaves, which it survives.
Task<void> follow(Call& call, std::shared_ptr<Process> process, Starter starter) {
  Attachment attachment(std::move(process));
  auto send = send_events(call, attachment, starter);
  auto leave = call.exchange().closed_by_client();
  co_await (std::move(send) || std::move(leave));
}

Task<void> write_or_leave(http::Exchange& exchange, Process& process,
                          const wire::ProcessInput& input, std::optional<Result<void>>& outcome) {
  auto write = process.write_input(input.to_pty, input.bytes);
  auto leave = exchange.closed_by_client();
  auto first = co_await (std::move(write) || std::move(leave));
  if (first.index() == 0) outcome.emplace(std::get<0>(std::move(first)));
}

}  // namespace

Task<bool> ProcessService::handle(std::string_view name, http::Exchange& exchange) {
  const wire::Method* method = wire::find_process_method(name);
  if (!method) co_return false;
  Call call(exchange, *method);
  if (name == "Start") {
    co_await start(call);
  } else if (name == "Connect") {
    co_await connect(call);
  } else if (name == "SendInput") {
    co_await send_input(call);
  } else if (name == "StreamInput") {
    co_await stream_input(call);
  } else {
    auto request = co_await call.read_unary();
    if (!request) co_return true;
    if (name == "List") {
      co_await call.send_unary(list());
    } else {
      co_await call.send_unary(change(name, *request));
    }
  }
  co_return true;
}

Result<std::shared_ptr<Process>> ProcessService::start_process(const http::RequestHead& head,
                                                               const boost::json::object& request) {
  ProcessTable::StartOptions options;
  HAKO_TRY(auto parsed, wire::parse_start(request));
  HAKO_TRY(auto user, user_of_request(context_, head));

  const std::string& workdir = context_.identity.default_workdir();
  const auto& wanted = parsed.process.cwd;
  HAKO_TRY(auto cwd, resolve_path(wanted.value_or(""), user.home, workdir));
  struct stat info {};
  if (::stat(cwd.c_str(), &info) < 0) {
    // A user need not have a home; only a folder somebody asked for must be there.
    if ((wanted && !wanted->empty()) || !workdir.empty())
      return Error(ErrorCode::invalid_argument, "cwd '" + cwd + "' does not exist");
    cwd = "/";
  } else if (!S_ISDIR(info.st_mode)) {
    return Error(ErrorCode::invalid_argument, "cwd '" + cwd + "' is not a directory");
  }
  auto environment = build_environment(user, context_.identity, parsed.process.envs);
  options.env = std::move(environment.variables);
  options.search_path = std::move(environment.search_path);
  options.cwd = std::move(cwd);
  options.change_user = context_.settings.change_user;
  options.reset_oom_score = context_.settings.owns_machine;
  options.group = context_.freezer.group();
  if (options.change_user) options.groups = context_.users.groups_of(user);
  options.user = std::move(user);
  options.request = std::move(parsed);
  if (auto limit = number_header(head, "Connect-Timeout-Ms"))
    options.deadline = std::chrono::milliseconds(std::min(*limit, kLongestDeadlineMs));
  return context_.processes.start(std::move(options));
}

Task<void> ProcessService::start(Call& call) {
  bool typed = co_await call.require_stream_type();
  if (!typed) co_return;
  auto request = co_await call.read_stream_request();
  // While it was read, the machine may have been frozen: and copied.
  co_await context_.freezer.wait_until_thawed();
  if (!call.exchange().connected()) {
    call.exchange().abort();
    co_return;
  }
  auto process = request ? start_process(call.head(), request.value())
                         : Result<std::shared_ptr<Process>>(std::move(request).error());
  if (!process) {
    co_await call.fail_stream(std::move(process).error());
    co_return;
  }
  co_await follow(call, std::move(process.value()), Starter::this_stream);
}

Task<void> ProcessService::connect(Call& call) {
  bool typed = co_await call.require_stream_type();
  if (!typed) co_return;
  auto request = co_await call.read_stream_request();
  auto find = [&]() -> Result<std::shared_ptr<Process>> {
    if (!request) return std::move(request).error();
    HAKO_TRY(auto selector, wire::parse_selector(request.value()));
    return context_.processes.find(selector);
  };
  auto process = find();
  if (!process) {
    co_await call.fail_stream(std::move(process).error());
    co_return;
  }
  co_await follow(call, std::move(process.value()), Starter::another);
}

Result<std::string> ProcessService::list() const {
  std::string body = "{\"processes\":[";
  bool first = true;
  for (const auto& process : context_.processes.running()) {
    if (!std::exchange(first, false)) body += ',';
    const wire::ProcessConfig& config = process->config();
    body += "{\"config\":{\"cmd\":";
    wire::append_json_string(body, config.cmd);
    body += ",\"args\":[";
    for (size_t i = 0; i < config.args.size(); ++i) {
      if (i > 0) body += ',';
      wire::append_json_string(body, config.args[i]);
    }
    body += "],\"envs\":{";
    for (size_t i = 0; i < config.envs.size(); ++i) {
      if (i > 0) body += ',';
      wire::append_json_string(body, config.envs[i].first);
      body += ':';
      wire::append_json_string(body, config.envs[i].second);
    }
    body += '}';
    if (config.cwd) {
      body += ",\"cwd\":";
      wire::append_json_string(body, *config.cwd);
    }
    body += "},\"pid\":";
    wire::append_json_number(body, process->pid());
    if (process->tag()) {
      body += ",\"tag\":";
      wire::append_json_string(body, *process->tag());
    }
    body += '}';
  }
  body += "]}";
  return body;
}

Result<void> ProcessService::change(std::string_view method, const boost::json::object& request) {
  HAKO_TRY(auto selector, wire::parse_selector(request));
  HAKO_TRY(auto process, context_.processes.find(selector));
  // An ended process is remembered for those who come late to its stream, not for these calls.
  if (process->ended()) return Error(ErrorCode::not_found, "the process has ended");
  if (method == "CloseStdin") return process->close_input();
  if (method == "SendSignal") {
    HAKO_TRY(auto signal, wire::parse_signal(request));
    return process->send_signal(signal);
  }
  HAKO_TRY(auto pty, wire::parse_pty(request));
  if (!pty) return Error(ErrorCode::invalid_argument, "field 'pty' is required");
  return process->resize(*pty);
}

Task<void> ProcessService::send_input(Call& call) {
  auto request = co_await call.read_unary();
  if (!request) co_return;
  wire::ProcessInput input;
  auto prepare = [&]() -> Result<std::shared_ptr<Process>> {
    HAKO_TRY(auto selector, wire::parse_selector(*request));
    HAKO_TRY(auto parsed, wire::parse_input(*request));
    input = std::move(parsed);
    HAKO_TRY(auto process, context_.processes.find(selector));
    if (process->ended()) return Error(ErrorCode::not_found, "the process has ended");
    return process;
  };
  auto process = prepare();
  request.reset();
  if (!process) {
    Result<void> failure = std::move(process).error();
    co_await call.send_unary(std::move(failure));
    co_return;
  }
  std::optional<Result<void>> outcome;
  co_await write_or_leave(call.exchange(), *process.value(), input, outcome);
  if (outcome) co_await call.send_unary(std::move(*outcome));
}

Task<void> ProcessService::stream_input(Call& call) {
  bool typed = co_await call.require_stream_type();
  if (!typed) co_return;
  wire::FrameDecoder decoder(kLargestMessage);
  std::shared_ptr<Process> process;
  std::vector<char> piece(kInputPiece);
  wire::ProcessInput input;
  // One message: what it asks for, with the bytes to be written left in `input`.
  auto take = [&](std::string_view payload) -> Result<void> {
    input.bytes.clear();
    HAKO_TRY(auto message, call.parse(payload));
    if (auto* start = wire::find_member(message, "start"); start && start->is_object()) {
      HAKO_TRY(auto selector, wire::parse_selector(start->get_object()));
      HAKO_TRY(auto found, context_.processes.find(selector));
      process = std::move(found);
    } else if (auto* data = wire::find_member(message, "data"); data && data->is_object()) {
      HAKO_TRY(auto parsed, wire::parse_input(data->get_object()));
      input = std::move(parsed);
    }
    if (!process) return Error(ErrorCode::invalid_argument, "the stream must begin with 'start'");
    return ok();
  };
  for (bool ended = false; !ended;) {
    auto n = co_await call.exchange().read_some(asio::buffer(piece));
    if (!n) co_return;
    ended = n.value() == 0;
    decoder.feed({piece.data(), n.value()});
    for (;;) {
      auto frame = decoder.next();
      Result<void> outcome = ok();
      if (!frame) {
        outcome = std::move(frame).error();
      } else if (!frame.value() || frame.value()->is_end()) {
        break;
      } else {
        outcome = take(frame.value()->payload);
      }
      if (outcome && !input.bytes.empty())
        outcome = co_await process->write_input(input.to_pty, input.bytes);
      if (!outcome) {
        co_await call.fail_stream(std::move(outcome).error());
        co_return;
      }
    }
  }
  std::string frames;
  size_t start = wire::begin_frame(frames);
  frames += "{}";
  wire::end_frame(frames, start);
  wire::append_end_frame(frames);
  auto sent = co_await call.send(frames, true);
  if (!sent) co_return;
}

}  // namespace hako::guest
