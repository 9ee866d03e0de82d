#include "api/data_plane.h"

#include "base/log.h"
#include "wire/routing.h"

namespace hako::api {
using namespace std::chrono_literals;

namespace {

constexpr auto kConnectDeadline = 5s;
/// Below the time after which the gate closes an idle connection.
constexpr auto kLongestIdle = 60s;

/// Whether the request can be sent a second time: it has no body that the first try has eaten, and
/// asking twice does nothing twice.
bool is_repeatable(const http::RequestHead& head) {
  bool safe = head.method == http::Verb::get || head.method == http::Verb::head;
  return safe && head.header("Content-Length").empty() && head.header("Transfer-Encoding").empty();
}

/// 503 and not 502: to clients a 502 means that the sandbox has ended.
Task<void> refuse(http::Exchange& exchange) {
  auto response = http::error_response(503, "the gate is not available at the moment; try again");
  response.fields.set(http::Field::retry_after, "1");
  (void)co_await exchange.respond(std::move(response));
}

}  // namespace

std::string reachable(const std::string& listening) {
  if (listening == "0.0.0.0") return "127.0.0.1";
  return listening == "::" ? "::1" : listening;
}

bool is_data_plane(const http::RequestHead& head) {
  wire::RoutingFacts facts;
  facts.path = head.path();
  facts.host = head.header("Host");
  facts.sandbox_id = head.header("E2b-Sandbox-Id");
  facts.sandbox_port = head.header("E2b-Sandbox-Port");
  return wire::is_data_plane(facts);
}

Task<Result<http::Client>> connect_gate(const config::Config& config) {
  HAKO_CO_TRY(auto stream, co_await http::connect_tcp(reachable(config.gate_address),
                                                      config.gate_port, kConnectDeadline));
  co_return http::Client(std::move(stream));
}

std::optional<http::Client> DataPlane::take_idle() {
  auto oldest_allowed = std::chrono::steady_clock::now() - kLongestIdle;
  while (!idle_.empty() && idle_.front().since < oldest_allowed) idle_.pop_front();
  while (!idle_.empty()) {
    http::Client client = std::move(idle_.back().client);
    idle_.pop_back();
    if (!client.stale()) return client;
  }
  return std::nullopt;
}

void DataPlane::keep(http::Client client) {
  if (!client.reusable()) return;
  if (idle_.size() == kMostIdle) idle_.pop_front();
  idle_.push_back({std::move(client), std::chrono::steady_clock::now()});
}

Task<void> DataPlane::serve(http::Exchange& exchange, http::RequestHead head) {
  // Clients that send it everywhere must not show it to what runs in a box.
  head.fields.erase("X-API-KEY");
  head.fields.erase("X-Hako-Tenant");
  bool repeatable = is_repeatable(head);
  // The gate has let it in, so that it has a right to be there.
  http::HeadEdit note = [&exchange](http::ResponseHead& answer) {
    if (answer.status < 400) exchange.vouch();
  };
  for (auto client = take_idle(); client; client = take_idle()) {
    auto outcome = co_await http::relay(exchange, head, *client, note);
    if (outcome == http::RelayOutcome::reusable) keep(std::move(*client));
    if (outcome != http::RelayOutcome::refused) co_return;
    // The gate may just have closed a connection that was idle; a fresh one tells.
    if (!repeatable) co_return co_await refuse(exchange);
  }
  auto fresh = co_await connect_gate(config_);
  if (!fresh) {
    boost::json::object fields;
    fields["error"] = fresh.error().message();
    log_warn("gate not reached", std::move(fields));
    co_return co_await refuse(exchange);
  }
  auto outcome = co_await http::relay(exchange, head, fresh.value(), note);
  if (outcome == http::RelayOutcome::reusable) keep(std::move(fresh.value()));
  if (outcome == http::RelayOutcome::refused) co_await refuse(exchange);
}

}  // namespace hako::api
