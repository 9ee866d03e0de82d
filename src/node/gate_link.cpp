#include "node/gate_link.h"

#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "node/json_fields.h"

namespace hako::node {
namespace {

constexpr auto kReconnectTime = std::chrono::seconds(5);
/// Added to the guest's own deadline: time for the gate to say that it has passed.
constexpr auto kGateGrace = std::chrono::seconds(2);
constexpr auto kPlainCall = std::chrono::seconds(5);
/// The guest writes its disk out twice and stops its programs, each within bounds of its own.
constexpr auto kFreezeTime = std::chrono::milliseconds(13'000);
constexpr auto kThawTime = std::chrono::milliseconds(5'000);
/// For cutting what a box may no longer reach.
constexpr auto kCutTime = std::chrono::seconds(10);
constexpr int kMostSocketsAtOnce = 32;

}  // namespace

GateLink::GateLink(SocketSource sockets, Recorded recorded, Connected connected)
    : sockets_(std::move(sockets)),
      recorded_(std::move(recorded)),
      on_connected_(std::move(connected)) {}

void GateLink::take_records(rpc::Peer& peer, const char* method, RecordKind kind) {
  rpc::Handler take = [this, kind](rpc::Payload told) -> Task<Result<rpc::Payload>> {
    HAKO_CO_TRY(auto records, parse_box_records(kind, told.body));
    recorded_(kind, std::move(records));
    co_return rpc::Payload();
  };
  peer.on(method, std::move(take));
}

Task<void> GateLink::serve(Fd connection) {
  auto executor = co_await asio::this_coro::executor;
  if (peer_) peer_->close();
  auto peer = std::make_shared<rpc::Peer>(executor, std::move(connection));
  rpc::Handler want_sockets = [this](rpc::Payload request) -> Task<Result<rpc::Payload>> {
    Fields fields(request.body);
    std::string machine = fields.text("machine");
    int64_t count = fields.integer("count");
    if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
    if (count < 1 || count > kMostSocketsAtOnce)
      co_return Error(ErrorCode::invalid_argument, "count is out of range");
    HAKO_CO_TRY(auto sockets, sockets_(machine, static_cast<int>(count)));
    rpc::Payload answer;
    answer.fds = std::move(sockets);
    co_return std::move(answer);
  };
  peer->on("sockets.want", std::move(want_sockets));
  take_records(*peer, "egress.records", RecordKind::egress);
  take_records(*peer, "access.records", RecordKind::access);
  // The machines are announced while run() serves; only then may others call.
  TaskGroup announcing(executor);
  peer_ = peer;
  struct Leave {
    std::shared_ptr<rpc::Peer>& current;
    std::shared_ptr<rpc::Peer> peer;
    ~Leave() {
      if (current == peer) current = nullptr;
      log_info("gate_disconnected");
    }
  } leave{peer_, peer};
  announcing.spawn("announce machines to gate", on_connected_());
  log_info("gate_connected");
  std::exception_ptr fault;
  try {
    co_await peer->run();
  } catch (...) {
    fault = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await announcing.stop();
  if (fault) std::rethrow_exception(fault);
}

Task<Result<rpc::Payload>> GateLink::call(std::string method, rpc::Payload payload,
                                          Duration deadline) {
  auto give_up = std::chrono::steady_clock::now() + kReconnectTime;
  while (!peer_) {
    auto left = give_up - std::chrono::steady_clock::now();
    if (left <= Duration::zero())
      co_return Error(ErrorCode::unavailable, "the gate is not running");
    asio::steady_timer tick(co_await asio::this_coro::executor,
                            std::min<Duration>(left, std::chrono::milliseconds(20)));
    co_await tick.async_wait(asio::use_awaitable);
  }
  auto peer = peer_;
  co_return co_await peer->call(std::move(method), std::move(payload), deadline);
}

Task<Result<void>> GateLink::add(const std::string& machine, network::EgressSockets egress,
                                 std::vector<Fd> sockets) {
  rpc::Payload payload;
  payload.body = {{"machine", machine},
                  {"address", network::kGuestAddress},
                  {"sockets", sockets.size()},
                  {"egress", true}};
  payload.fds.push_back(std::move(egress.listener));
  payload.fds.push_back(std::move(egress.dns));
  std::ranges::move(sockets, std::back_inserter(payload.fds));
  auto answer = co_await call("machine.add", std::move(payload), kPlainCall);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<void> GateLink::remove(const std::string& machine) {
  // Without a gate there is nothing to remove: it starts with what is announced to it.
  if (!peer_) co_return;
  rpc::Payload payload;
  payload.body = {{"machine", machine}};
  auto answer = co_await call("machine.remove", std::move(payload), kPlainCall);
  if (!answer && answer.error().code() != ErrorCode::not_found)
    log_warn("gate_remove_failed", {{"machine", machine}, {"error", answer.error().message()}});
}

Task<Result<void>> GateLink::wait_ready(const std::string& machine,
                                        std::chrono::milliseconds deadline) {
  rpc::Payload payload;
  payload.body = {{"machine", machine}, {"deadline_ms", deadline.count()}};
  auto answer = co_await call("machine.wait_ready", std::move(payload), deadline + kGateGrace);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<Result<void>> GateLink::init(const std::string& machine, boost::json::object init,
                                  std::chrono::milliseconds deadline) {
  rpc::Payload payload;
  payload.body = {{"machine", machine}, {"deadline_ms", deadline.count()}};
  payload.body["init"] = std::move(init);
  auto answer = co_await call("machine.init", std::move(payload), deadline + kGateGrace);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<Result<void>> GateLink::freeze(const std::string& machine) {
  rpc::Payload payload;
  payload.body = {{"machine", machine}, {"deadline_ms", kFreezeTime.count()}};
  auto answer = co_await call("machine.freeze", std::move(payload), kFreezeTime + kGateGrace);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<Result<void>> GateLink::thaw(const std::string& machine) {
  rpc::Payload payload;
  payload.body = {{"machine", machine}, {"deadline_ms", kThawTime.count()}};
  auto answer = co_await call("machine.thaw", std::move(payload), kThawTime + kGateGrace);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<Result<GateLink::ExecResult>> GateLink::exec(const std::string& machine, Command command,
                                                  std::chrono::milliseconds deadline,
                                                  size_t output_limit) {
  rpc::Payload payload;
  boost::json::array args(command.args.begin(), command.args.end());
  payload.body = {{"machine", machine},
                  {"deadline_ms", deadline.count()},
                  {"cmd", command.cmd},
                  {"output_limit", output_limit}};
  payload.body["args"] = std::move(args);
  if (!command.user.empty()) payload.body["user"] = command.user;
  if (!command.cwd.empty()) payload.body["cwd"] = command.cwd;
  if (!command.envs.empty()) payload.body["envs"] = std::move(command.envs);
  auto answer = co_await call("machine.exec", std::move(payload), deadline + kGateGrace);
  if (!answer) co_return answer.error();
  Fields fields(answer.value().body);
  ExecResult result;
  result.exit_code = static_cast<int>(fields.integer("exit_code"));
  result.output = fields.text_or("output", "");
  if (fields.problem()) co_return Error(ErrorCode::internal, "gate: " + *fields.problem());
  co_return std::move(result);
}

Task<Result<void>> GateLink::quiesce(const std::string& machine) {
  rpc::Payload payload;
  payload.body = {{"machine", machine}};
  auto answer = co_await call("machine.quiesce", std::move(payload), kPlainCall);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<Result<void>> GateLink::publish(const std::string& machine, const std::string& box,
                                     const std::string& access_token,
                                     const boost::json::object& ingress,
                                     const boost::json::object& egress) {
  rpc::Payload payload;
  payload.body = {{"machine", machine}, {"box", box}};
  if (!ingress.empty()) payload.body["ingress"] = ingress;
  if (!egress.empty()) payload.body["egress"] = egress;
  if (!access_token.empty()) payload.body["access_token"] = access_token;
  auto answer = co_await call("machine.publish", std::move(payload), kPlainCall);
  if (!answer) co_return answer.error();
  co_return ok();
}

Task<Result<void>> GateLink::set_egress(const std::string& machine,
                                        const boost::json::object& egress,
                                        const std::optional<boost::json::object>& ingress) {
  // One that connects later hears of it with everything else. A call that waited for it could come
  // behind a newer one.
  auto peer = peer_;
  if (!peer) co_return Error(ErrorCode::unavailable, "the gate is not running");
  rpc::Payload payload;
  payload.body = {{"machine", machine}};
  payload.body["egress"] = egress;
  if (ingress) payload.body["ingress"] = *ingress;
  auto answer = co_await peer->call("machine.egress", std::move(payload), kCutTime);
  if (!answer && answer.error().code() != ErrorCode::not_found) co_return answer.error();
  co_return ok();
}

Task<Result<void>> GateLink::use_certificate(const std::string& certificate,
                                             const std::string& key) {
  rpc::Payload payload;
  payload.body = {{"certificate", certificate}, {"key", key}};
  auto answer = co_await call("gate.certificate", std::move(payload), kPlainCall);
  if (!answer) co_return answer.error();
  co_return ok();
}

}  // namespace hako::node
