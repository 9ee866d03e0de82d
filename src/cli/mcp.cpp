// `hako mcp`: the Model Context Protocol on standard input and output.
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <csignal>

#include "cli/api.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/streams.h"
#include "cli/terminal.h"
#include "mcp/lines.h"
#include "mcp/server.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr size_t kReadPiece = 64 << 10;
constexpr size_t kMostWaiting = 4 << 20;  ///< bytes of answers that were not read yet
constexpr size_t kMostTools = 64;  ///< at work at once
/// What is under way gets so long to be ended in its boxes when the client has gone.
constexpr std::chrono::seconds kEndTime{20};
/// And the client so long to read the last answers.
constexpr std::chrono::seconds kReadTime{5};

mcp::Upstream upstream_of(const ApiAccess& access) {
  mcp::Upstream upstream;
  upstream.connect = [endpoint = access.endpoint] { return connect_to(endpoint); };
  upstream.prefix = access.endpoint.prefix;
  upstream.fields.set(http::Field::host, access.endpoint.authority());
  upstream.fields.set("X-API-Key", access.key);
  if (!access.tenant.empty()) upstream.fields.set("X-Hako-Tenant", access.tenant);
  return upstream;
}

/// One client, for as long as it holds our standard input open.
class Conversation {
 public:
  Conversation(asio::any_io_executor executor, mcp::Upstream upstream)
      : upstream_(std::move(upstream)), tools_(executor), writer_(executor) {}

  Task<void> hold(Interrupts& interrupts) {
    using namespace asio::experimental::awaitable_operators;
    writer_.spawn("answers", write_answers());
    auto listening = listen();
    auto stopped = interrupts.wait();
    auto unread = wait_until_unread();
    co_await (std::move(listening) || std::move(stopped) || std::move(unread));
    server_.end("");
    auto finishing = wait_for_tools();
    auto limit = sleep_for(kEndTime);
    co_await (std::move(finishing) || std::move(limit));
    co_await tools_.stop();
    auto writing = wait_until_written();
    auto bounded = sleep_for(kReadTime);
    co_await (std::move(writing) || std::move(bounded));
    co_await writer_.stop();
  }

 private:
  void send(const json::object& message) {
    waiting_ += json::serialize(message) + "\n";
    changed_.notify_all();
  }

  Task<void> write_answers() {
    for (;;) {
      while (waiting_.empty()) co_await changed_.wait();
      std::string piece = waiting_;
      auto written = co_await out_.write(asio::buffer(piece));
      if (!written) {
        unread_ = true;
        changed_.notify_all();
        co_return;
      }
      waiting_.erase(0, piece.size());
      changed_.notify_all();
    }
  }

  Task<void> wait_until_unread() {
    while (!unread_) co_await changed_.wait();
  }

  Task<void> wait_until_written() {
    while (!unread_ && !waiting_.empty()) co_await changed_.wait();
  }

  Task<void> wait_for_tools() {
    while (working_ > 0) co_await changed_.wait();
  }

  Task<void> listen() {
    std::vector<char> buffer(kReadPiece);
    for (;;) {
      // A client that does not read gets no further answers to what it asks.
      while (waiting_.size() > kMostWaiting) co_await changed_.wait();
      auto n = co_await in_.read_some(asio::buffer(buffer));
      if (!n || n.value() == 0) co_return;
      lines_.feed(std::string_view(buffer.data(), n.value()));
      while (auto line = lines_.next()) co_await take(std::move(*line));
    }
  }

  Task<void> take(mcp::LineReader::Line line) {
    if (line.too_long) {
      send(mcp::error_message(nullptr, mcp::kInvalidRequest,
                              "a message may have at most " +
                                  std::to_string(mcp::kLongestMessage) + " bytes"));
      co_return;
    }
    auto parsed = mcp::parse_message(line.text);
    if (!parsed.message) {
      const mcp::Malformed& why = parsed.malformed;
      send(mcp::error_message(why.id, why.code, why.text));
      co_return;
    }
    mcp::Message& message = *parsed.message;
    bool wants_answer = message.kind == mcp::Message::Kind::request;
    if (message.method == "initialize") begun_ = true;
    if (!begun_ && wants_answer && message.method != "ping") {
      send(mcp::error_message(message.id, mcp::kInvalidRequest, "initialize first"));
      co_return;
    }
    if (!wants_answer || message.method != "tools/call") {
      auto answering = server_.handle(std::move(message), "", upstream_, nullptr);
      auto answer = co_await std::move(answering);
      if (answer) send(*answer);
      co_return;
    }
    if (working_ >= kMostTools) {
      send(mcp::error_message(message.id, mcp::kInternalError,
                              "too many tools are at work at once; try again"));
      co_return;
    }
    ++working_;
    tools_.spawn("tool", use_tool(std::move(message)));
  }

  Task<void> use_tool(mcp::Message message) {
    struct Ending {
      Conversation& of;
      ~Ending() {
        --of.working_;
        of.changed_.notify_all();
      }
    };
    Ending ending{*this};
    mcp::Server::Notify notify = [this](json::object notification) { send(notification); };
    auto answering = server_.handle(std::move(message), "", upstream_, std::move(notify));
    auto answer = co_await std::move(answering);
    if (answer) send(*answer);
  }

  mcp::Upstream upstream_;
  mcp::Server server_;
  mcp::LineReader lines_{mcp::kLongestMessage};
  SharedDescriptor in_{STDIN_FILENO}, out_{STDOUT_FILENO};
  TaskGroup tools_, writer_;
  Condition changed_;
  std::string waiting_;  ///< answers not written yet
  size_t working_ = 0;
  bool begun_ = false, unread_ = false;
};

Task<int> converse(const GlobalOptions& global) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor);
  Interrupts interrupts(executor);
  interrupts.start(tasks);
  Conversation conversation(executor, upstream_of(access.value()));
  co_await conversation.hold(interrupts);
  co_await tasks.stop();
  co_return interrupts.received() ? 128 + *interrupts.received() : 0;
}

}  // namespace

int serve_mcp(const GlobalOptions& global) {
  ::signal(SIGPIPE, SIG_IGN);
  return run_to_end([&] { return converse(global); });
}

}  // namespace hako::cli
