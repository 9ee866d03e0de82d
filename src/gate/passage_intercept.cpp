// The part of Passage that ends TLS here, to put secrets into what is said on it.
#include "gate/egress_box.h"
#include "gate/intercepted_http.h"
#include "gate/metered_stream.h"
#include "gate/passage.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

constexpr char kSecretRule[] = "secret";
constexpr Duration kHandshakeTime = 15s;

}  // namespace

Task<void> Passage::pass_intercepted(Addresses addresses) {
  auto reading = read_opening(judge_tls);
  auto opening = co_await with_deadline(kOpeningTime, std::move(reading));
  if (cut_) co_return;
  auto refusal = refusal_of_tls(opening);
  if (refusal) co_return co_await refuse(std::move(*refusal));
  std::string box = box_.id();
  auto secrets = co_await box_.commons().broker.secrets(std::move(box));
  if (cut_) co_return;
  std::string name = destination_.name;
  if (!secrets)
    refusal = Refusal{kSecretRule, "its secrets are not at hand: " + secrets.error().message()};
  else if (!secrets.value()->host(name, destination_.port))
    refusal = Refusal{kSecretRule, "no secret is for this host"};
  if (refusal) co_return co_await refuse(std::move(*refusal));
  note_allowed();
  if (!keep_handle(client_handle_, client_)) co_return;
  meter_stream(client_, meter_, std::exchange(pending_, {}));
  auto welcoming = secrets.value()->authority.welcome(std::move(client_), std::move(name));
  auto welcomed = co_await with_deadline(kHandshakeTime, std::move(welcoming));
  if (cut_) co_return;
  if (!welcomed) {
    end_reason_ = welcomed.error().message();
    co_return;
  }
  relaying_ = true;
  co_await serve_intercepted(std::move(welcomed).value(), std::move(addresses));
}

Task<void> Passage::serve_intercepted(http::Stream client, Addresses addresses) {
  InterceptedHttp way{.broker = box_.commons().broker, .bodies = box_.commons().bodies};
  way.box = box_.id();
  way.expected = expected();
  way.connect = [this, addresses] { return connect_encrypted(addresses); };
  way.spare = [this]() -> std::optional<http::Client> {
    if (cut_) return std::nullopt;
    auto spare = box_.take_spare(destination_.name, destination_.port);
    // Without a descriptor for cut() it is of no use.
    if (spare && !keep_handle(upstream_handle_, spare->stream())) spare.reset();
    return spare;
  };
  way.keep = [this](http::Client client) {
    if (!cut_) box_.keep_spare(destination_.name, destination_.port, std::move(client));
  };
  way.note = [this](std::string_view kind, std::string_view verdict, std::string rule,
                    std::string reason) {
    auto noted = record(verdict);
    noted.kind = kind;
    noted.rule = std::move(rule);
    noted.reason = std::move(reason);
    box_.record(std::move(noted));
  };
  way.switched = [this] { switched_ = true; };
  co_await relay_intercepted(std::move(client), std::move(way));
  ended_well_ = !cut_;
  if (!cut_) end_reason_ = "both sides have ended";
}

Task<Result<http::Stream>> Passage::connect_encrypted(Addresses addresses) {
  HAKO_CO_TRY(auto stream, co_await connect_for_http(std::move(addresses)));
  std::string name = destination_.name;
  auto shaking = box_.commons().upstream_tls.connect(std::move(stream), std::move(name));
  auto shaken = co_await with_deadline(kHandshakeTime, std::move(shaking));
  if (!shaken) co_return shaken.error().with_context(destination_.name);
  co_return std::move(shaken).value();
}

void Passage::secrets_changed() {
  // Requests are judged one by one; what has become another protocol is not.
  if (switched_) cut("the secrets of the box have changed");
}

}  // namespace hako::gate
