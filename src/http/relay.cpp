#include "http/relay.h"

#include <sys/socket.h>

#include <boost/beast/http/rfc7230.hpp>

#include <algorithm>

#include "http/transport.h"
#include "wire/ascii.h"

namespace hako::http {
namespace {

using boost::system::error_code;
using namespace std::chrono_literals;

constexpr size_t kPiece = 64 << 10;
/// How long an upstream that no longer takes the request may still answer it.
constexpr auto kLastAnswer = 30s;
/// How long an upstream may think about an upgrade.
constexpr auto kUpgradePatience = 60s;
/// How long an answer may take before anybody looks whether the client still waits for it.
constexpr auto kFirstLook = 250ms;
/// How often that is done where a client has said more, so that its end is not heard by itself.
constexpr auto kFurtherLooks = 2s;

/// Removes what concerns only the connection the message came over, and what frames it.
void strip_connection_fields(Fields& fields) {
  std::vector<std::string> named;
  auto connection = fields.equal_range(Field::connection);
  for (auto field = connection.first; field != connection.second; ++field)
    for (const auto& token : boost::beast::http::token_list(field->value()))
      named.emplace_back(token.data(), token.size());
  for (const auto& name : named) {
    // Framing, routing, and what a watcher reads the message by are not the sender's to take away.
    constexpr Field kKept[] = {Field::content_length, Field::host, Field::content_type,
                               Field::content_encoding, Field::authorization};
    auto known = boost::beast::http::string_to_field(name);
    if (std::ranges::find(kKept, known) == std::end(kKept)) fields.erase(name);
  }
  for (Field field : {Field::connection, Field::keep_alive, Field::proxy_connection, Field::te,
                      Field::trailer, Field::transfer_encoding, Field::upgrade, Field::expect,
                      Field::proxy_authorization, Field::proxy_authenticate})
    fields.erase(field);
}

bool may_become(std::string_view protocol, Upgrades upgrades) {
  return upgrades == Upgrades::any || wire::equal_ignoring_case(protocol, "websocket");
}

std::string upgrade_of(const RequestHead& head, Upgrades upgrades) {
  auto connection = head.fields.find(Field::connection);
  if (connection == head.fields.end() ||
      !boost::beast::http::token_list(connection->value()).exists("upgrade"))
    return {};
  std::string protocol(head.header("Upgrade"));
  // An offer that may be ignored; passed on, it would only keep the exchange from being watched.
  if (wire::equal_ignoring_case(protocol, "h2c") || !may_become(protocol, upgrades)) return {};
  return protocol;
}

class Relay {
 public:
  Relay(Exchange& exchange, Client& upstream, HeadEdit edit, Upgrades upgrades,
        RelayWatcher* watcher, const std::string* body)
      : exchange_(exchange),
        upstream_(upstream),
        edit_(std::move(edit)),
        upgrades_(upgrades),
        watcher_(watcher),
        body_(body) {}

  Task<RelayOutcome> run(RequestHead head) {
    using namespace asio::experimental::awaitable_operators;
    Request request = rewrite(std::move(head));
    upgrade_ = request.fields.find(Field::upgrade) != request.fields.end();
    auto begun = co_await upstream_.begin(std::move(request));
    if (!begun) {
      // It may have answered before it closed; an idle connection that has ended has not.
      co_return RelayOutcome::refused;
    }
    if (!upgrade_ && !body_ && !exchange_.head().has_body()) {
      co_await answer_bodiless();
    } else {
      auto upload = send_up();
      auto download = bring_down();
      co_await (std::move(upload) || std::move(download));
    }
    if (!outcome_) {
      exchange_.abort();
      reset_connection(upstream_.stream());
      co_return RelayOutcome::client_gone;
    }
    if (switching_) co_await switch_protocols();
    co_return *outcome_;
  }

 private:
  /// Notices that the client has gone, for as long as this exists. Mostly the answer is there sooner
  /// than it is looked, and then this has cost a timer only.
  class ClientWatch {
   public:
    ClientWatch(Relay& relay, const asio::any_io_executor& executor)
        : state_(std::make_shared<State>(relay, executor)) {
      after(kFirstLook, state_, [](const Shared& state) { listen(state); });
    }
    ~ClientWatch() {
      state_->relay = nullptr;
      state_->timer.cancel();
      state_->cancel.emit(asio::cancellation_type::terminal);
    }
    ClientWatch(const ClientWatch&) = delete;

   private:
    struct State {
      State(Relay& of, const asio::any_io_executor& executor) : relay(&of), timer(executor) {}
      Relay* relay;
      asio::steady_timer timer;
      asio::cancellation_signal cancel;
    };
    using Shared = std::shared_ptr<State>;

    static void after(Duration time, const Shared& state, void (*next)(const Shared&)) {
      state->timer.expires_after(time);
      state->timer.async_wait([state, next](const error_code&) { go_on(state, next); });
    }
    static void listen(const Shared& state) {
      state->relay->exchange_.when_heard(state->cancel.slot(), [state] { go_on(state, look); });
    }
    static void look(const Shared& state) { after(kFurtherLooks, state, look); }
    static void go_on(const Shared& state, void (*next)(const Shared&)) {
      if (state->relay && !state->relay->stop_if_client_gone()) next(state);
    }

    Shared state_;
  };

  /// Most requests are of this kind. Nothing of the client's is read meanwhile: a task that did would
  /// have to be cancelled at the end of each, which costs more than all else here.
  Task<void> answer_bodiless() {
    ClientWatch watch(*this, co_await asio::this_coro::executor);
    if (watcher_ && !watcher_->sent({})) co_return stop();
    auto finished = co_await upstream_.finish();
    uploaded_ = bool(finished);
    co_await bring_down();
  }

  bool stop_if_client_gone() {
    if (!exchange_.client_gone()) return false;
    cut_upstream();
    return true;
  }

  Request rewrite(RequestHead head) const {
    Request request;
    request.method = head.method;
    request.target = std::move(head.target);
    std::string upgrade = upgrade_of(head, upgrades_);
    bool chunked = head.fields.find(Field::transfer_encoding) != head.fields.end();
    strip_connection_fields(head.fields);
    request.fields = std::move(head.fields);
    if (chunked) request.fields.set(Field::transfer_encoding, "chunked");
    if (!upgrade.empty()) request.fields.set(Field::upgrade, upgrade);
    return request;
  }

  /// Ends only when the client has gone.
  Task<void> send_up() {
    std::vector<char> buffer;
    if (body_ && !body_->empty()) {
      if (watcher_ && !watcher_->sent(*body_)) co_return stop();
      auto written = co_await upstream_.write(asio::buffer(*body_));
      if (!written) co_return co_await wait_for_last_answer();
    }
    for (;;) {
      char probe[512];
      auto room = buffer.empty() ? asio::buffer(probe) : asio::buffer(buffer);
      auto count = co_await exchange_.read_some(room);
      if (!count) {
        if (watcher_) watcher_->failed(count.error());
        co_return;
      }
      std::string_view piece(static_cast<const char*>(room.data()), count.value());
      if (watcher_ && !watcher_->sent(piece)) co_return stop();
      if (count.value() == 0) break;
      auto written = co_await upstream_.write(asio::buffer(room.data(), count.value()));
      if (!written) co_return co_await wait_for_last_answer();
      if (count.value() == room.size()) buffer.resize(kPiece);
    }
    auto finished = co_await upstream_.finish();
    if (!finished) co_return co_await wait_for_last_answer();
    uploaded_ = true;
    // While it may yet become another protocol, what the client sends is not ours to read, and so
    // nobody would notice that it has gone.
    for (auto waited = 0s; upgrade_ && !answered_; waited += 1s) {
      if (waited >= kUpgradePatience) co_return;
      co_await sleep_for(1s);
    }
    co_await exchange_.closed_by_client();
  }

  void stop() {
    reset_connection(upstream_.stream());
    if (answered_) exchange_.abort();
    outcome_ = answered_ ? RelayOutcome::cut : RelayOutcome::stopped;
  }

  Task<void> wait_for_last_answer() {
    for (;;) {
      co_await sleep_for(kLastAnswer);
      reset_connection(upstream_.stream());
    }
  }

  bool may_switch(const ResponseHead& response) const {
    if (!upgrade_ || upgrades_ == Upgrades::any) return upgrade_;
    auto [first, last] = response.fields.equal_range(Field::upgrade);
    return first != last && std::all_of(first, last, [this](const auto& field) {
             return may_become({field.value().data(), field.value().size()}, upgrades_);
           });
  }

  Task<void> bring_down() {
    auto head = co_await upstream_.read_head();
    if (outcome_) co_return;  // it was stopped
    if (!head || (head.value().status == 101 && !may_switch(head.value()))) {
      reset_connection(upstream_.stream());
      // For one who has gone nobody is asked again.
      if (exchange_.client_gone()) co_return cut_upstream();
      outcome_ = RelayOutcome::refused;
      co_return;
    }
    ResponseHead response = std::move(head).value();
    if (response.status == 101) {
      if (watcher_) watcher_->answered(response.status);
      switching_ = std::move(response);
      outcome_ = RelayOutcome::finished;
      co_return;
    }
    if (watcher_) watcher_->answered(response.status);
    strip_connection_fields(response.fields);
    if (edit_) edit_(response);
    if (watcher_ && !watcher_->answering(response)) {
      reset_connection(upstream_.stream());
      outcome_ = RelayOutcome::stopped;
      co_return;
    }
    answered_ = true;
    auto buffer = std::make_unique_for_overwrite<char[]>(kPiece);
    // What has come with the head goes on with it.
    auto count = upstream_.read_at_hand(asio::buffer(buffer.get(), kPiece));
    std::optional<std::string_view> passed = std::string_view();
    if (count && count.value() > 0) passed = pass({buffer.get(), count.value()});
    if (!passed) co_return cut_upstream();
    auto sent = co_await exchange_.begin_with(std::move(response), asio::buffer(*passed));
    do {
      if (!sent) co_return cut_upstream();
      if (count) count = co_await upstream_.read_some(asio::buffer(buffer.get(), kPiece));
      if (!count) {
        exchange_.abort();
        if (!outcome_) outcome_ = RelayOutcome::cut;
        co_return;
      }
      passed = pass({buffer.get(), count.value()});
      if (!passed) co_return cut_upstream();
      sent = co_await exchange_.write(asio::buffer(*passed));
    } while (count.value() > 0);
    if (!sent) co_return cut_upstream();
    auto ended = co_await exchange_.end();
    if (!ended) co_return cut_upstream();
    if (outcome_) co_return;
    outcome_ = uploaded_ && upstream_.reusable() ? RelayOutcome::reusable : RelayOutcome::finished;
  }

  /// The piece as the client gets it; empty: the body has ended.
  std::optional<std::string_view> pass(std::string_view piece) {
    if (!watcher_) return piece;
    if (!piece.empty()) watcher_->received(piece.size());
    return watcher_->passing(piece);
  }

  void cut_upstream() {
    exchange_.abort();
    reset_connection(upstream_.stream());
    outcome_ = RelayOutcome::client_gone;
  }

  Task<void> switch_protocols() {
    std::string head;
    auto upgrade = switching_->fields.find(Field::upgrade);
    std::string protocol;
    if (upgrade != switching_->fields.end())
      protocol.assign(upgrade->value().data(), upgrade->value().size());
    detail::append_status_line(head, 101);
    detail::append_fields(head, switching_->fields);
    head.append("Connection: Upgrade\r\n");
    detail::append_field(head, "Upgrade", protocol);
    head.append("\r\n");
    auto [guest, from_guest] = upstream_.take_connection();
    if (watcher_) watcher_->switched(guest, from_guest);
    // What upgrades was let in by whatever serves it.
    exchange_.vouch();
    auto client = exchange_.take_connection();
    // The guest's first bytes may have come with its head: they go behind the head.
    head.append(from_guest);
    co_await tunnel(std::move(client.stream), std::move(client.pending), std::move(guest),
                    std::move(head));
  }

  Exchange& exchange_;
  Client& upstream_;
  HeadEdit edit_;
  Upgrades upgrades_;
  RelayWatcher* watcher_;
  const std::string* body_;
  bool upgrade_ = false;
  bool uploaded_ = false;
  bool answered_ = false;
  std::optional<RelayOutcome> outcome_;
  std::optional<ResponseHead> switching_;
};

/// Throws when either side broke, so that the other direction is cancelled.
Task<void> copy(Stream& from, Stream& to, std::string pending) {
  asio::const_buffer piece = asio::buffer(pending);
  std::vector<char> buffer(kPiece);
  for (;;) {
    error_code error = co_await detail::send_all(to, std::span(&piece, 1));
    if (error) throw boost::system::system_error(error);
    size_t count = 0;
    error = co_await detail::receive(from, asio::buffer(buffer), count);
    if (error == asio::error::eof) break;
    if (error) throw boost::system::system_error(error);
    piece = asio::buffer(buffer.data(), count);
  }
  co_await finish_sending(to, Ending::half);
}

}  // namespace

Task<RelayOutcome> relay(Exchange& exchange, RequestHead head, Client& upstream, HeadEdit edit,
                         Upgrades upgrades, RelayWatcher* watcher, const std::string* body) {
  Relay relay(exchange, upstream, std::move(edit), upgrades, watcher, body);
  co_return co_await relay.run(std::move(head));
}

Task<void> tunnel(Stream a, std::string pending_from_a, Stream b, std::string pending_from_b) {
  using namespace asio::experimental::awaitable_operators;
  watch_for_dead_peer(a.native_handle());
  watch_for_dead_peer(b.native_handle());
  bool broke = false;
  try {
    auto up = copy(a, b, std::move(pending_from_a));
    auto down = copy(b, a, std::move(pending_from_b));
    co_await (std::move(up) && std::move(down));
  } catch (const std::exception&) {
    broke = true;
  }
  if (!broke) co_return;
  reset_connection(a);
  reset_connection(b);
}

}  // namespace hako::http
