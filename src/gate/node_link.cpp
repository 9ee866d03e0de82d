#include "gate/node_link.h"

#include "base/log.h"
#include "policy/egress_json.h"
#include "rpc/link.h"
#include "wire/json_text.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

constexpr Duration kSocketsDeadline = 5s;
/// By then a node that has just connected has announced all it has.
constexpr Duration kAnnounceTime = 60s;
constexpr int64_t kLongestDeadlineMs = 24 * 3600 * 1000;
constexpr int64_t kLargestOutput = 4 << 20;

Result<std::string> text_of(const boost::json::object& body, std::string_view name) {
  HAKO_TRY(auto text, wire::string_member(body, name));
  if (!text || text->empty())
    return Error(ErrorCode::invalid_argument, std::string(name) + " is missing");
  return std::move(*text);
}

Result<Duration> deadline_of(const boost::json::object& body) {
  HAKO_TRY(auto ms, wire::int_member(body, "deadline_ms"));
  if (!ms || *ms < 1 || *ms > kLongestDeadlineMs)
    return Error(ErrorCode::invalid_argument, "deadline_ms is missing or out of range");
  return Duration(std::chrono::milliseconds(*ms));
}

Result<ExecRequest> exec_request_of(const boost::json::object& body) {
  ExecRequest request;
  HAKO_TRY(request.cmd, text_of(body, "cmd"));
  HAKO_TRY(request.deadline, deadline_of(body));
  HAKO_TRY(auto user, wire::string_member(body, "user"));
  request.user = user.value_or("");
  HAKO_TRY(request.cwd, wire::string_member(body, "cwd"));
  HAKO_TRY(auto limit, wire::int_member(body, "output_limit"));
  if (limit && (*limit < 0 || *limit > kLargestOutput))
    return Error(ErrorCode::invalid_argument, "output_limit is out of range");
  if (limit) request.output_limit = static_cast<size_t>(*limit);
  if (auto args = wire::find_member(body, "args")) {
    if (!args->is_array()) return Error(ErrorCode::invalid_argument, "args is not an array");
    for (const auto& arg : args->get_array()) {
      if (!arg.is_string()) return Error(ErrorCode::invalid_argument, "args holds a non-string");
      request.args.emplace_back(arg.get_string());
    }
  }
  HAKO_TRY(auto envs, wire::object_member(body, "envs"));
  if (envs) {
    for (const auto& [name, value] : *envs) {
      if (!value.is_string()) return Error(ErrorCode::invalid_argument, "envs holds a non-string");
      request.envs.emplace_back(name, value.get_string());
    }
  }
  return request;
}

/// Takes the sockets of a machine's egress off the front of those that came with `order`.
Result<std::optional<EgressSockets>> egress_sockets_of(rpc::Payload& order) {
  HAKO_TRY(auto wanted, wire::bool_member(order.body, "egress"));
  if (!wanted.value_or(false)) return std::nullopt;
  if (order.fds.size() < 2)
    return Error(ErrorCode::invalid_argument, "egress without its two sockets");
  EgressSockets egress{std::move(order.fds[0]), std::move(order.fds[1])};
  order.fds.erase(order.fds.begin(), order.fds.begin() + 2);
  return egress;
}

/// Without one: the empty policy, which lets nothing pass.
Result<policy::EgressPolicy> egress_policy_of(const boost::json::object& body) {
  HAKO_TRY(auto fields, wire::object_member(body, "egress"));
  if (!fields) return policy::EgressPolicy();
  return policy::parse_egress(*fields);
}

rpc::Payload done() {
  return {};
}

}  // namespace

NodeLink::NodeLink(asio::any_io_executor executor, std::string socket_path, tls::Server& tls,
                   std::vector<DnsServer> resolvers, OwnAddresses own, BrokerLink& broker,
                   tls::Client& upstream_tls)
    : socket_path_(std::move(socket_path)),
      tls_(tls),
      tasks_(executor),
      table_(tasks_, [this](std::string machine,
                            int count) { return ask_for_sockets(std::move(machine), count); }),
      guests_(table_),
      access_(teller("access.records")),
      egress_(executor, table_, std::move(resolvers), std::move(own), broker, upstream_tls,
              teller("egress.records")) {
  broker.on_changed([this](const std::string& box) { egress_.secrets_changed(box); });
  table_.on_removed([this](const std::string& machine) { egress_.remove(machine); });
}

Task<void> NodeLink::run() {
  tasks_.spawn("sweep connections", table_.sweep());
  tasks_.spawn("grants that expire", table_.end_expired());
  tasks_.spawn("access records", access_.run());
  tasks_.spawn("egress", egress_.run());
  rpc::Link link;
  link.path = socket_path_;
  link.begin = [this](const std::shared_ptr<rpc::Peer>& peer) { begin(peer); };
  link.end = [this] {
    peer_ = nullptr;
    log_info("node_disconnected");
  };
  link.unreachable = [](const Error& error) {
    log_warn("node_unreachable", {{"error", error.message()}});
  };
  co_await rpc::keep_connected(std::move(link), tasks_);
}

void NodeLink::begin(const std::shared_ptr<rpc::Peer>& peer) {
  take_orders(*peer);
  uint64_t epoch = table_.begin_epoch();
  tasks_.spawn("forget machines", forget_unannounced(epoch));
  peer_ = peer;
  log_info("node_connected");
}

Task<void> NodeLink::forget_unannounced(uint64_t epoch) {
  co_await sleep_for(kAnnounceTime);
  if (peer_) table_.forget_older(epoch);
}

Task<Result<std::vector<Fd>>> NodeLink::ask_for_sockets(std::string machine, int count) {
  auto peer = peer_;
  if (!peer) co_return Error(ErrorCode::unavailable, "the node is not connected");
  rpc::Payload payload;
  payload.body["machine"] = machine;
  payload.body["count"] = count;
  HAKO_CO_TRY(auto answer,
              co_await peer->call("sockets.want", std::move(payload), kSocketsDeadline));
  co_return std::move(answer.fds);
}

SendRecords NodeLink::teller(const char* method) {
  return [this, method](const std::string& machine, const std::string& box,
                        boost::json::array records) {
    if (!peer_) return false;
    rpc::Payload payload;
    payload.body["machine"] = machine;
    payload.body["box"] = box;
    payload.body["records"] = std::move(records);
    return peer_->tell(method, std::move(payload)).has_value();
  };
}

void NodeLink::take_orders(rpc::Peer& peer) {
  using Order = Answer (NodeLink::*)(rpc::Payload);
  auto on = [&](const char* method, Order order) {
    peer.on(method,
            [this, order](rpc::Payload payload) { return (this->*order)(std::move(payload)); });
  };
  on("machine.add", &NodeLink::add);
  on("machine.remove", &NodeLink::remove);
  on("machine.sockets", &NodeLink::add_sockets);
  on("machine.publish", &NodeLink::publish);
  on("machine.egress", &NodeLink::change_egress);
  on("machine.wait_ready", &NodeLink::wait_ready);
  on("machine.init", &NodeLink::init);
  on("machine.freeze", &NodeLink::freeze);
  on("machine.thaw", &NodeLink::thaw);
  on("machine.exec", &NodeLink::exec);
  on("machine.quiesce", &NodeLink::quiesce);
  on("gate.certificate", &NodeLink::certificate);
}

Result<MachineRef> NodeLink::machine_of(const boost::json::object& body) const {
  HAKO_TRY(auto id, text_of(body, "machine"));
  auto machine = table_.find(id);
  if (!machine) return Error(ErrorCode::not_found, "no machine " + id);
  return machine;
}

NodeLink::Answer NodeLink::add(rpc::Payload order) {
  HAKO_CO_TRY(auto id, text_of(order.body, "machine"));
  HAKO_CO_TRY(auto address, text_of(order.body, "address"));
  HAKO_CO_TRY(auto egress, egress_sockets_of(order));
  HAKO_CO_TRYV(table_.add(id, address, std::move(order.fds)));
  if (egress) {
    HAKO_CO_TRYV(egress_.listen(id, std::move(*egress)));
  }
  co_return done();
}

NodeLink::Answer NodeLink::remove(rpc::Payload order) {
  HAKO_CO_TRY(auto id, text_of(order.body, "machine"));
  // Before the answer: behind it the node may know nothing of the machine any more.
  access_.settle(id);
  HAKO_CO_TRYV(table_.remove(id));
  co_return done();
}

NodeLink::Answer NodeLink::add_sockets(rpc::Payload order) {
  HAKO_CO_TRY(auto id, text_of(order.body, "machine"));
  HAKO_CO_TRYV(table_.add_sockets(id, std::move(order.fds)));
  co_return done();
}

NodeLink::Answer NodeLink::publish(rpc::Payload order) {
  HAKO_CO_TRY(auto id, text_of(order.body, "machine"));
  HAKO_CO_TRY(auto box, text_of(order.body, "box"));
  HAKO_CO_TRY(auto token, wire::string_member(order.body, "access_token"));
  HAKO_CO_TRY(auto ingress, parse_ingress(order.body));
  HAKO_CO_TRY(auto egress, egress_policy_of(order.body));
  HAKO_CO_TRYV(table_.publish(id, box, token.value_or(""), ingress.value_or(Ingress())));
  egress_.set_policy(id, box, std::move(egress));
  co_return done();
}

NodeLink::Answer NodeLink::change_egress(rpc::Payload order) {
  HAKO_CO_TRY(auto machine, machine_of(order.body));
  HAKO_CO_TRY(auto egress, egress_policy_of(order.body));
  HAKO_CO_TRY(auto ingress, parse_ingress(order.body));
  if (ingress) MachineTable::change_ingress(*machine, std::move(*ingress));
  egress_.set_policy(machine->id, machine->box, std::move(egress));
  co_return done();
}

NodeLink::Answer NodeLink::wait_ready(rpc::Payload order) {
  HAKO_CO_TRY(auto machine, machine_of(order.body));
  HAKO_CO_TRY(auto deadline, deadline_of(order.body));
  HAKO_CO_TRYV(co_await guests_.wait_ready(machine, deadline));
  co_return done();
}

NodeLink::Answer NodeLink::init(rpc::Payload order) {
  HAKO_CO_TRY(auto machine, machine_of(order.body));
  HAKO_CO_TRY(auto deadline, deadline_of(order.body));
  HAKO_CO_TRY(auto content, wire::object_member(order.body, "init"));
  if (!content) co_return Error(ErrorCode::invalid_argument, "init is missing");
  boost::json::object body = *content;
  HAKO_CO_TRYV(co_await guests_.init(machine, std::move(body), deadline));
  co_return done();
}

NodeLink::Answer NodeLink::freeze(rpc::Payload order) {
  HAKO_CO_TRY(auto machine, machine_of(order.body));
  HAKO_CO_TRY(auto deadline, deadline_of(order.body));
  HAKO_CO_TRYV(co_await guests_.freeze(machine, deadline));
  co_return done();
}

NodeLink::Answer NodeLink::thaw(rpc::Payload order) {
  HAKO_CO_TRY(auto machine, machine_of(order.body));
  HAKO_CO_TRY(auto deadline, deadline_of(order.body));
  HAKO_CO_TRYV(co_await guests_.thaw(machine, deadline));
  co_return done();
}

NodeLink::Answer NodeLink::exec(rpc::Payload order) {
  HAKO_CO_TRY(auto machine, machine_of(order.body));
  HAKO_CO_TRY(auto request, exec_request_of(order.body));
  HAKO_CO_TRY(auto outcome, co_await guests_.exec(machine, std::move(request)));
  rpc::Payload answer;
  answer.body["exit_code"] = outcome.exit_code;
  // Whatever bytes the program wrote, the message is JSON: what is not UTF-8 is replaced.
  std::string quoted;
  wire::append_json_string(quoted, outcome.output);
  answer.body["output"] = boost::json::parse(quoted);
  co_return answer;
}

NodeLink::Answer NodeLink::certificate(rpc::Payload order) {
  HAKO_CO_TRY(auto chain, text_of(order.body, "certificate"));
  HAKO_CO_TRY(auto key, text_of(order.body, "key"));
  HAKO_CO_TRYV(tls_.use(chain, key));
  log_info("certificate_taken");
  co_return done();
}

NodeLink::Answer NodeLink::quiesce(rpc::Payload order) {
  HAKO_CO_TRY(auto machine, machine_of(order.body));
  HAKO_CO_TRYV(co_await guests_.quiesce(machine));
  co_return done();
}

}  // namespace hako::gate
