#include "api/mcp_endpoint.h"

#include <sys/socket.h>
#include <boost/json/serialize.hpp>

#include <deque>

#include "api/authority.h"
#include "api/now.h"
#include "base/encoding.h"
#include "base/log.h"
#include "base/random.h"
#include "wire/ascii.h"
#include "wire/connect.h"
#include "wire/macaroon.h"
#include "wire/signature.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view kMcpSession = "Mcp-Session-Id";
constexpr std::string_view kMcpVersion = "MCP-Protocol-Version";
constexpr size_t kNonceDigits = 32, kMarkDigits = 32;  ///< hex digits
/// Often enough for whoever stands between to see that the connection lives.
constexpr auto kStillThere = 15s;
/// Pieces that a client has not taken yet; further progress is not told.
constexpr size_t kMostPieces = 64;

/// The same exchange, told to come from where the message of the protocol came from.
class FromClient final : public http::Exchange {
 public:
  FromClient(http::Exchange& inner, std::string source, bool encrypted)
      : inner_(inner), source_(std::move(source)), encrypted_(encrypted) {}

  const http::RequestHead& head() const override { return inner_.head(); }
  std::string peer_address() const override { return source_; }
  uint16_t peer_port() const override { return 0; }
  bool connected() const override { return inner_.connected(); }
  bool is_encrypted() const override { return encrypted_; }
  Task<Result<size_t>> read_some(asio::mutable_buffer into) override {
    return inner_.read_some(into);
  }
  const http::Fields& trailers() const override { return inner_.trailers(); }
  Task<Result<std::string>> read_body(size_t limit) override { return inner_.read_body(limit); }
  Task<Result<void>> respond(Response response) override {
    return inner_.respond(std::move(response));
  }
  Task<Result<void>> begin(http::ResponseHead head) override {
    return inner_.begin(std::move(head));
  }
  Task<Result<void>> write(asio::const_buffer piece) override { return inner_.write(piece); }
  Task<Result<void>> end() override { return inner_.end(); }
  Task<Result<void>> begin_with(http::ResponseHead head, asio::const_buffer first) override {
    return inner_.begin_with(std::move(head), first);
  }
  Task<Result<void>> end_with(asio::const_buffer last) override { return inner_.end_with(last); }
  void abort() override { inner_.abort(); }
  bool responded() const override { return inner_.responded(); }
  void vouch() override { inner_.vouch(); }
  Task<void> closed_by_client() override { return inner_.closed_by_client(); }
  void when_heard(asio::cancellation_slot cancel, std::function<void()> then) override {
    inner_.when_heard(cancel, std::move(then));
  }
  bool client_gone() const override { return inner_.client_gone(); }
  Raw take_connection() override { return inner_.take_connection(); }

 private:
  http::Exchange& inner_;
  std::string source_;
  bool encrypted_;
};

Task<void> handle_from(http::Exchange& exchange, http::Handler handler, std::string source,
                       bool encrypted) {
  FromClient from(exchange, std::move(source), encrypted);
  co_await handler(from);
}

/// What proves that a session's id was given to this very caller: ids need no table, and outlive
/// restarts.
std::string mark_of(const Principal& who, const std::string& secret, std::string_view nonce) {
  std::string about = "mcp session\n" + who.key_id + "\n" + who.token_id + "\n" + who.tenant + "\n" +
                      std::string(nonce);
  return hex_encode(wire::hmac_sha256(secret, about)).substr(0, kMarkDigits);
}

std::string new_session(const Principal& who, const std::string& secret) {
  std::string nonce = random_hex(kNonceDigits / 2);
  return nonce + mark_of(who, secret, nonce);
}

bool is_session(const Principal& who, const std::string& secret, std::string_view id) {
  if (id.size() != kNonceDigits + kMarkDigits) return false;
  return wire::equal_secrets(mark_of(who, secret, id.substr(0, kNonceDigits)), id.substr(kNonceDigits));
}

/// A page that some other site has put into a browser is kept from speaking to a hako on its user's
/// machine. Programs send no Origin.
bool may_come_from(std::string_view origin) {
  if (origin.empty()) return true;
  size_t scheme = origin.find("://");
  if (scheme == origin.npos) return false;
  std::string_view host = origin.substr(scheme + 3);
  size_t colon = host.rfind(':');
  bool is_port = colon != host.npos && host.find(']', colon) == host.npos;
  if (is_port) host = host.substr(0, colon);
  return host == "localhost" || host == "127.0.0.1" || host == "[::1]";
}

/// Whether a list of media types, as Accept has it, has this one in it.
bool accepts(std::string_view header, std::string_view type) {
  while (!header.empty()) {
    size_t comma = std::min(header.find(','), header.size());
    std::string_view one = header.substr(0, comma);
    header.remove_prefix(std::min(comma + 1, header.size()));
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    std::string_view family = type.substr(0, type.find('/') + 1);
    if (wire::is_media_type(one, type) || wire::is_media_type(one, "*/*") ||
        wire::is_media_type(one, std::string(family) + "*"))
      return true;
  }
  return false;
}

Response message_response(unsigned status, const json::object& message) {
  return Response::json(status, message);
}

/// Of the request that should have carried a message.
Response protocol_error(unsigned status, std::string_view text) {
  return http::error_response(status, text);
}

/// What is wrong with a request before its message is looked at.
std::optional<Response> refusal(const http::RequestHead& head, bool with_body) {
  if (!may_come_from(head.header("Origin")))
    return protocol_error(403, "pages of other sites may not speak to this server");
  std::string_view version = head.header(kMcpVersion);
  if (!version.empty() && !mcp::is_spoken(version))
    return protocol_error(400, "this version of the protocol is not spoken here");
  if (!with_body) return std::nullopt;
  std::string_view accept = head.header("Accept");
  if (!accepts(accept, "application/json") || !accepts(accept, "text/event-stream"))
    return protocol_error(406, "Accept must name application/json and text/event-stream");
  if (!wire::is_media_type(head.header("Content-Type"), "application/json"))
    return protocol_error(415, "Content-Type must be application/json");
  return std::nullopt;
}

/// What is wrong with a session's id.
std::optional<Response> session_refusal(const Call& call, const std::string& secret) {
  std::string_view session = call.head.header(kMcpSession);
  if (session.empty())
    return protocol_error(400, "the header Mcp-Session-Id is required: initialize first");
  if (!is_session(call.who, secret, session))
    return protocol_error(404, "there is no such session: initialize anew");
  return std::nullopt;
}

}  // namespace

/// What goes to a client, piece by piece.
struct McpEndpoint::Stream {
  explicit Stream(std::shared_ptr<size_t> all_unread) : unread(std::move(all_unread)) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { take(); }

  std::deque<std::string> pieces;
  std::shared_ptr<size_t> unread;  ///< of all streams
  bool done = false;
  Condition news;
  TaskGroup::Handle task;

  void add(const json::object& message) {
    pieces.push_back("event: message\ndata: " + json::serialize(message) + "\n\n");
    *unread += pieces.back().size();
    news.notify_all();
  }
  std::string take() {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    pieces.clear();
    *unread -= all.size();
    return all;
  }
  void end() {
    done = true;
    news.notify_all();
  }

  /// Held by the response: when that goes before the end, the client has gone.
  struct Reader {
    explicit Reader(std::shared_ptr<Stream> read) : stream(std::move(read)) {}
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader() {
      if (!stream->done) stream->task.cancel();
    }
    std::shared_ptr<Stream> stream;
  };

  static Task<Result<std::string>> next(std::shared_ptr<Reader> reader) {
    using namespace asio::experimental::awaitable_operators;
    Stream& stream = *reader->stream;
    if (stream.pieces.empty() && !stream.done) {
      auto news = stream.news.wait();
      auto silence = sleep_for(kStillThere);
      co_await (std::move(news) || std::move(silence));
    }
    std::string all = stream.take();
    if (all.empty() && !stream.done) all = ": still at it\n\n";
    co_return all;
  }
};

/// One tool at work, counted for as long as it exists.
class McpEndpoint::Working {
 public:
  Working(McpEndpoint& endpoint, std::string tenant)
      : endpoint_(endpoint), tenant_(std::move(tenant)) {
    ++endpoint_.working_[tenant_];
    ++endpoint_.all_working_;
  }
  Working(const Working&) = delete;
  Working& operator=(const Working&) = delete;
  ~Working() {
    --endpoint_.all_working_;
    if (--endpoint_.working_[tenant_] == 0) endpoint_.working_.erase(tenant_);
  }

 private:
  McpEndpoint& endpoint_;
  std::string tenant_;
};

McpEndpoint::McpEndpoint(asio::any_io_executor executor)
    : connections_(executor), calls_(executor) {}

Task<void> McpEndpoint::stop() {
  co_await calls_.stop();
  co_await connections_.stop();
}

Task<Result<http::Client>> McpEndpoint::connect(std::string source, bool encrypted) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    co_return Error::from_errno(errno, "socketpair");
  Fd ours(ends[0]), theirs(ends[1]);
  auto executor = co_await asio::this_coro::executor;
  http::Handler handler = [this, source, encrypted](http::Exchange& exchange) {
    return handle_from(exchange, handler_, source, encrypted);
  };
  auto stream = http::make_stream(executor, std::move(theirs));
  auto serving = http::serve_connection(std::move(stream), std::move(handler));
  connections_.spawn("mcp connection", std::move(serving));
  auto client = http::make_stream(executor, std::move(ours));
  co_return http::Client(std::move(client));
}

mcp::Upstream McpEndpoint::upstream_of(const Call& call) {
  mcp::Upstream upstream;
  upstream.connect = [this, source = call.source, encrypted = call.encrypted] {
    return connect(source, encrypted);
  };
  auto copy = [&](std::string_view name) {
    std::string_view value = call.head.header(name);
    if (!value.empty())
      upstream.fields.set(boost::beast::string_view(name.data(), name.size()),
                          boost::beast::string_view(value.data(), value.size()));
  };
  upstream.fields.set(http::Field::host, "localhost");
  copy(kKeyHeader);
  copy(kTenantHeader);
  return upstream;
}

Task<void> McpEndpoint::run_call(std::shared_ptr<Stream> stream, std::shared_ptr<Working> working,
                                 mcp::Message message, std::string session,
                                 mcp::Upstream upstream) {
  // However this ends, whoever reads must not wait for ever.
  struct Ending {
    std::shared_ptr<Stream> stream;
    std::shared_ptr<Working> working;
    ~Ending() { stream->end(); }
  };
  Ending ending{stream, std::move(working)};
  mcp::Server::Notify notify = [stream](json::object notification) {
    bool room = stream->pieces.size() < kMostPieces && *stream->unread < kMostUnread;
    if (room) stream->add(notification);
  };
  json::value id = message.id;
  auto answering = server_.handle(std::move(message), std::move(session), std::move(upstream),
                                  std::move(notify));
  auto answer = co_await std::move(answering);
  if (answer && *unread_ >= kMostUnread)
    answer = mcp::error_message(id, mcp::kInternalError,
                                "too many answers wait to be read; try again");
  if (answer) stream->add(*answer);
}

Response McpEndpoint::begin_call(const Call& call, mcp::Message message, std::string session) {
  auto of_tenant = working_.find(call.who.tenant);
  if (all_working_ >= kMostCalls ||
      (of_tenant != working_.end() && of_tenant->second >= kMostCallsOfTenant)) {
    auto busy = mcp::error_message(message.id, mcp::kInternalError,
                                   "too many tools are at work at once; try again");
    Response response = message_response(429, busy);
    response.fields.set(http::Field::retry_after, "1");
    return response;
  }
  auto stream = std::make_shared<Stream>(unread_);
  auto working = std::make_shared<Working>(*this, call.who.tenant);
  auto running = run_call(stream, std::move(working), std::move(message), std::move(session),
                          upstream_of(call));
  stream->task = calls_.spawn("mcp call", std::move(running));
  auto reader = std::make_shared<Stream::Reader>(stream);
  Response response;
  response.status = 200;
  response.fields.set(http::Field::content_type, "text/event-stream");
  response.fields.set(http::Field::cache_control, "no-store");
  response.fields.set("X-Accel-Buffering", "no");
  response.more = [reader] { return Stream::next(reader); };
  return response;
}

Task<Response> McpEndpoint::post(const Call& call, const std::string& secret) {
  if (auto refused = refusal(call.head, true)) co_return std::move(*refused);
  auto parsed = mcp::parse_message(call.body);
  if (!parsed.message) {
    const mcp::Malformed& why = parsed.malformed;
    co_return message_response(400, mcp::error_message(why.id, why.code, why.text));
  }
  mcp::Message& message = *parsed.message;
  bool begins = message.method == "initialize" && message.kind == mcp::Message::Kind::request;
  if (!begins) {
    if (auto refused = session_refusal(call, secret)) co_return std::move(*refused);
  }
  std::string session(begins ? new_session(call.who, secret)
                             : std::string(call.head.header(kMcpSession)));
  if (message.kind == mcp::Message::Kind::request && message.method == "tools/call")
    co_return begin_call(call, std::move(message), std::move(session));
  auto answering = server_.handle(std::move(message), session, mcp::Upstream(), nullptr);
  auto answer = co_await std::move(answering);
  if (!answer) co_return Response::empty(202);
  Response response = message_response(200, *answer);
  if (begins && answer->contains("result")) response.fields.set("Mcp-Session-Id", session);
  co_return response;
}

Response McpEndpoint::remove(const Call& call, const std::string& secret) {
  if (auto refused = refusal(call.head, false)) return std::move(*refused);
  if (auto refused = session_refusal(call, secret)) return std::move(*refused);
  server_.end(std::string(call.head.header(kMcpSession)));
  return Response::empty(204);
}

}  // namespace hako::api
