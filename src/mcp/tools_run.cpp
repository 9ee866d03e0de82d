// The tool that runs commands.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/async/run_until.h"
#include "base/async/task_group.h"
#include "base/log.h"
#include "base/random.h"
#include "mcp/overflow.h"
#include "mcp/text.h"
#include "mcp/tool.h"
#include "wire/connect.h"
#include "wire/process.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

constexpr size_t kStreamPiece = 64 << 10;
constexpr size_t kLargestFrame = 4 << 20;
constexpr std::chrono::seconds kTell{1};
constexpr std::chrono::seconds kEndTime{15};
/// The box kills the command that much later by itself, should we be gone by then.
constexpr std::chrono::seconds kLate{5};

/// Takes the command line as $1 and, of one in the background, where its output goes as $2.
constexpr const char* kShell =
    R"([ -z "$2" ] || exec >"$2" 2>&1 </dev/null
command -v bash >/dev/null 2>&1 && exec bash -l -c "$1"
exec sh -l -c "$1")";

/// One of the two streams.
struct Stream {
  Stream(size_t most, Api& api, std::string box, std::string user, std::string path)
      : shown(most), overflow(api, std::move(box), std::move(user), std::move(path)) {}

  Task<void> add(std::string_view bytes) {
    // Kept from the first byte on once it is clear that not all of it can be shown.
    bool was_cut = shown.is_cut();
    shown.add(bytes);
    if (!shown.is_cut()) {
      held.append(bytes);
      co_return;
    }
    if (!was_cut && !held.empty()) {
      std::string first = std::move(held);
      held.clear();
      co_await overflow.add(first);
    }
    co_await overflow.add(bytes);
  }

  Shown shown;
  Overflow overflow;
  std::string held;
};

class Command {
 public:
  Command(ToolCall call, std::string box)
      : call_(std::move(call)),
        box_(std::move(box)),
        user_(call_.arguments.text("user")),
        most_(size_t(*call_.arguments.number("max_output_bytes"))),
        name_("/tmp/hako-" + random_hex(6)),
        out_(most_, call_.api, box_, user_, name_ + ".out"),
        err_(most_, call_.api, box_, user_, name_ + ".err"),
        decoder_(kLargestFrame) {}

  /// Runs it to its end or its time. When cancelled because the client wants it ended, it is ended
  /// in the box before this returns.
  Task<Result<json::object>> run() {
    TaskGroup beside(co_await asio::this_coro::executor);
    std::optional<Result<json::object>> outcome;
    std::exception_ptr fault;
    try {
      outcome.emplace(co_await follow_in_time(beside));
    } catch (...) {
      fault = std::current_exception();
    }
    co_await shield_from_cancellation();
    co_await beside.stop();
    if (fault) {
      if (call_.ended_by_client) co_await end_in_box();
      std::rethrow_exception(fault);
    }
    co_return std::move(*outcome);
  }

 private:
  bool in_background() const { return call_.arguments.flag("background"); }

  std::chrono::seconds limit() const {
    return std::chrono::seconds(*call_.arguments.number("timeout_seconds"));
  }

  http::Request start_request() const {
    wire::StartRequest start;
    start.process.cmd = "/bin/sh";
    std::string output = in_background() ? name_ + ".log" : "";
    start.process.args = {"-c", kShell, "hako", call_.arguments.text("command"), output};
    if (call_.arguments.has("cwd")) start.process.cwd = call_.arguments.text("cwd");
    for (auto& pair : call_.arguments.pairs("env")) start.process.envs.push_back(std::move(pair));
    start.has_stdin = call_.arguments.has("stdin");
    http::Request request =
        call_.api.prepare_for(box_, user_, http::Verb::post, "/process.Process/Start");
    request.fields.set(http::Field::content_type, "application/connect+json");
    request.fields.set("Connect-Protocol-Version", "1");
    if (!in_background())
      request.fields.set("Connect-Timeout-Ms", std::to_string((limit() + kLate).count() * 1000));
    size_t frame = wire::begin_frame(request.body);
    request.body += json::serialize(wire::to_json(start));
    wire::end_frame(request.body, frame);
    return request;
  }

  Task<Result<json::object>> follow_in_time(TaskGroup& beside) {
    auto following = follow(beside);
    auto telling = tell_now_and_then();
    auto either = run_until(std::move(telling), std::move(following));
    auto limited = keep_value(std::move(either));
    auto done = co_await with_deadline(limit(), std::move(limited));
    if (done) co_return std::move(done);
    if (done.error().code() != ErrorCode::timed_out || pid_ == 0) co_return done.error();
    timed_out_ = true;
    co_await end_in_box();
    co_await out_.overflow.finish();
    co_await err_.overflow.finish();
    co_return report();
  }

  static Task<Result<json::object>> keep_value(Task<std::optional<Result<json::object>>> task) {
    auto value = co_await std::move(task);
    if (!value) co_return Error(ErrorCode::cancelled, "the command was not waited for");
    co_return std::move(*value);
  }

  Task<void> tell_now_and_then() {
    auto began = std::chrono::steady_clock::now();
    for (;;) {
      co_await sleep_for(kTell);
      if (!call_.progress) continue;
      std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;
      std::string line = out_.shown.last_line();
      if (line.empty()) line = err_.shown.last_line();
      uint64_t bytes = out_.shown.total() + err_.shown.total();
      std::string text = std::to_string(bytes) + " bytes of output";
      if (!line.empty()) text += ": " + line;
      call_.progress(passed.count(), std::move(text));
    }
  }

  Task<Result<json::object>> follow(TaskGroup& beside) {
    HAKO_CO_TRY(auto client, co_await call_.api.connect());
    http::Request request = start_request();
    HAKO_CO_TRY(auto head, co_await client.start(std::move(request)));
    std::vector<char> buffer(kStreamPiece);
    if (head.status != 200) {
      auto n = co_await client.read_some(asio::buffer(buffer));
      co_return error_of(head.status, std::string_view(buffer.data(), n ? n.value() : 0));
    }
    for (;;) {
      auto n = co_await client.read_some(asio::buffer(buffer));
      if (!n || n.value() == 0) {
        if (ended_) co_return co_await finish();
        co_return Error(ErrorCode::unavailable,
                        "the connection broke before the command had ended: the box has been "
                        "destroyed, paused or taken back, or its time has run out");
      }
      decoder_.feed(std::string_view(buffer.data(), n.value()));
      HAKO_CO_TRY(bool last, co_await take_frames());
      if (last) co_return co_await finish();
      if (pid_ != 0 && in_background()) co_return report_background();
      if (pid_ != 0 && call_.arguments.has("stdin") && !fed_) {
        fed_ = true;
        beside.spawn("input of a command", feed_input());
      }
    }
  }

  /// True when the stream has ended in good order.
  Task<Result<bool>> take_frames() {
    for (;;) {
      HAKO_CO_TRY(auto frame, decoder_.next());
      if (!frame) co_return false;
      if (frame->is_end()) {
        auto end = wire::parse_end_frame(frame->payload);
        if (ended_) co_return true;
        if (end) co_return Error(ErrorCode::corrupted, "the box did not say how it ended");
        co_return error_of(400, wire::connect_error_body(end.error()));
      }
      HAKO_CO_TRY(auto event, wire::parse_process_event(frame->payload));
      using Kind = wire::ProcessEvent::Kind;
      if (event.kind == Kind::start) pid_ = event.pid;
      if (event.kind == Kind::data) {
        Stream& stream = event.stream == wire::OutputStream::err ? err_ : out_;
        co_await stream.add(event.bytes);
      }
      if (event.kind == Kind::end) {
        ended_ = true;
        exit_ = std::move(event.end);
      }
    }
  }

  /// What it reads. A command that reads no further is no problem.
  Task<void> feed_input() {
    Api api(call_.upstream);
    wire::ProcessSelector self{.pid = pid_, .tag = {}};
    json::object sending{{"process", wire::to_json(self)}};
    std::string text = call_.arguments.text("stdin");
    json::error_code never;
    std::string body = wire::input_request(self, false, text);
    json::value parsed = json::parse(body, never);
    if (!never && parsed.is_object()) {
      json::object input = std::move(parsed.get_object());
      auto sent = co_await api.daemon(box_, user_, "process.Process/SendInput", std::move(input),
                                      std::chrono::hours(24));
      if (!sent) log_debug("input not taken", {{"error", sent.error().message()}});
    }
    auto closed =
        co_await api.daemon(box_, user_, "process.Process/CloseStdin", std::move(sending));
    if (!closed) log_debug("input not closed", {{"error", closed.error().message()}});
  }

  /// Kills it with all that it has started and that has not left its process group.
  Task<void> end_in_box() {
    if (pid_ == 0) co_return;
    auto ending = end_all();
    auto ended = co_await with_deadline(kEndTime, std::move(ending));
    if (!ended) log_debug("command not ended", {{"error", ended.error().message()}});
  }

  Task<Result<void>> end_all() {
    Api api(call_.upstream);
    wire::StartRequest start;
    start.process.cmd = "/bin/sh";
    start.process.args = {"-c", "kill -s KILL -- -" + std::to_string(pid_)};
    start.has_stdin = false;
    http::Request request =
        api.prepare_for(box_, user_, http::Verb::post, "/process.Process/Start");
    request.fields.set(http::Field::content_type, "application/connect+json");
    request.fields.set("Connect-Protocol-Version", "1");
    size_t frame = wire::begin_frame(request.body);
    request.body += json::serialize(wire::to_json(start));
    wire::end_frame(request.body, frame);
    auto group = co_await api.exchange(std::move(request), kEndTime);
    if (!group) log_debug("group not ended", {{"error", group.error().message()}});
    // Where there is no shell, the command itself at least.
    wire::ProcessSelector self{.pid = pid_, .tag = {}};
    json::object signal;
    signal["process"] = wire::to_json(self);
    signal["signal"] = "SIGNAL_SIGKILL";
    auto sent =
        co_await api.daemon(box_, user_, "process.Process/SendSignal", std::move(signal));
    if (!sent && sent.error().code() != ErrorCode::not_found) co_return sent.error();
    co_return ok();
  }

  Task<Result<json::object>> finish() {
    co_await out_.overflow.finish();
    co_await err_.overflow.finish();
    co_return report();
  }

  json::object report_background() const {
    json::object told;
    told["pid"] = pid_;
    told["output_file"] = name_ + ".log";
    return told;
  }

  void report_stream(json::object& told, const std::string& name, Stream& stream) const {
    told[name] = stream.shown.beginning();
    told[name + "_bytes"] = stream.shown.total();
    if (!stream.shown.is_cut()) return;
    told[name + "_end"] = stream.shown.end();
    if (stream.overflow.is_kept()) {
      told[name + "_file"] = stream.overflow.path();
      told[name + "_next_offset"] = stream.shown.next_offset();
    }
    if (!stream.overflow.problem().empty()) told["note"] = name + ": " + stream.overflow.problem();
  }

  json::object report() {
    json::object told;
    told["exit_code"] = timed_out_ || !exit_.exited ? -1 : exit_.exit_code;
    if (timed_out_) {
      told["ended_by"] = "its time was over";
    } else if (!exit_.exited) {
      told["ended_by"] = exit_.status;
    }
    told["timed_out"] = timed_out_;
    report_stream(told, "stdout", out_);
    report_stream(told, "stderr", err_);
    told["truncated"] = out_.shown.is_cut() || err_.shown.is_cut();
    return told;
  }

  ToolCall call_;
  std::string box_, user_;
  size_t most_;
  std::string name_;  ///< of files that it leaves in the box
  Stream out_, err_;
  wire::FrameDecoder decoder_;
  uint32_t pid_ = 0;
  bool ended_ = false, timed_out_ = false, fed_ = false;
  wire::ProcessEnd exit_;
};

}  // namespace

Task<Result<json::object>> run_command(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  Command command(std::move(call), std::move(box));
  co_return co_await command.run();
}

}  // namespace hako::mcp
