#include "api/node_link.h"

#include "api/either.h"
#include "api/field_reader.h"
#include "base/log.h"
#include "base/random.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kFirstWait = 50ms;
constexpr auto kLongestWait = 2000ms;
constexpr auto kInfoDeadline = 5s;
constexpr auto kReconcileListDeadline = 10s;
constexpr size_t kLongestName = 256;
constexpr size_t kLongestReason = 4096;

/// Up to a quarter more, so that several servers do not come back in step.
std::chrono::milliseconds with_jitter(std::chrono::milliseconds wait) {
  auto byte = static_cast<unsigned char>(random_bytes(1).front());
  return wait + wait * byte / 1024;
}

Result<NodeInfo> read_info(const json::object& body) {
  FieldReader reader(body, "node.info: ");
  NodeInfo info;
  info.isolation = reader.text("isolation", kLongestName).value_or("");
  info.engine = reader.text("engine", kLongestName).value_or("");
  info.accel_reason = reader.text("accel_reason", kLongestReason).value_or("");
  if (info.isolation != "hardware" && info.isolation != "emulated") {
    reader.fail("isolation", "must be hardware or emulated");
  }
  HAKO_TRYV(reader.outcome());
  return info;
}

}  // namespace

Task<void> NodeLink::run() {
  std::chrono::milliseconds wait = kFirstWait;
  for (;;) {
    auto connection = co_await rpc::connect_unix(path_);
    if (connection) {
      bool answered = co_await serve_one(std::move(connection.value()));
      if (answered) {
        log_warn("node lost");
        wait = kFirstWait;
      }
    }
    co_await sleep_for(with_jitter(wait));
    wait = std::min(wait * 2, kLongestWait);
  }
}

Task<bool> NodeLink::serve_one(Fd connection) {
  auto executor = co_await asio::this_coro::executor;
  auto peer = std::make_shared<rpc::Peer>(executor, std::move(connection));
  rpc::Handler on_gone = [this](rpc::Payload payload) { return take_gone(std::move(payload)); };
  peer->on("box.gone", std::move(on_gone));
  rpc::Handler on_egress = [this](rpc::Payload payload) { return take_egress(std::move(payload)); };
  peer->on("box.egress", std::move(on_egress));
  rpc::Handler on_access = [this](rpc::Payload payload) { return take_access(std::move(payload)); };
  peer->on("box.access", std::move(on_access));
  struct Forget {
    explicit Forget(NodeLink& link) : link_(link) {}
    ~Forget() { link_.peer_.reset(); }
    NodeLink& link_;
  } forget(*this);
  auto serving = peer->run();
  auto greeting = greet(peer);
  co_await until_either_ends(std::move(serving), std::move(greeting));
  co_return peer_ != nullptr;
}

Task<void> NodeLink::greet(std::shared_ptr<rpc::Peer> peer) {
  auto answer = co_await peer->call("node.info", rpc::Payload(), kInfoDeadline);
  auto info = answer ? read_info(answer.value().body) : Result<NodeInfo>(answer.error());
  if (!info) {
    json::object fields;
    fields["error"] = info.error().message();
    log_warn("node does not answer", std::move(fields));
    co_return;
  }
  peer_ = peer;
  json::object fields;
  fields["engine"] = info.value().engine;
  fields["isolation"] = info.value().isolation;
  log_info("node connected", std::move(fields));
  co_await events_.connected(std::move(info.value()));
  // Returning would end the connection; its end is what ends this.
  for (;;) co_await sleep_for(24h);
}

Task<Result<rpc::Payload>> NodeLink::take_gone(rpc::Payload payload) {
  FieldReader reader(payload.body, "box.gone: ");
  std::string box = reader.text("box", kLongestName).value_or("");
  std::string reason = reader.text("reason", kLongestName).value_or("");
  HAKO_CO_TRYV(reader.outcome());
  // A box has gone whatever is wrong with the rest.
  const json::value* said = payload.body.if_contains("detail");
  std::string detail = said && said->is_string() ? std::string(said->get_string()) : "";
  detail.resize(std::min(detail.size(), kLongestReason));
  co_await events_.gone(std::move(box), std::move(reason), std::move(detail));
  co_return rpc::Payload();
}

Task<Result<rpc::Payload>> NodeLink::take_egress(rpc::Payload payload) {
  FieldReader reader(payload.body, "box.egress: ");
  std::string box = reader.text("box", kLongestName).value_or("");
  const json::array* records = reader.array("records");
  HAKO_CO_TRYV(reader.outcome());
  if (records) events_.egress(box, *records);
  co_return rpc::Payload();
}

Task<Result<rpc::Payload>> NodeLink::take_access(rpc::Payload payload) {
  FieldReader reader(payload.body, "box.access: ");
  std::string box = reader.text("box", kLongestName).value_or("");
  const json::array* records = reader.array("records");
  HAKO_CO_TRYV(reader.outcome());
  if (records) events_.access(box, *records);
  co_return rpc::Payload();
}

Task<Result<json::object>> NodeLink::call(std::string method, json::object body,
                                          Duration deadline) {
  // Of its own, as the link may let go of it while the answer is awaited.
  std::shared_ptr<rpc::Peer> peer = peer_;
  if (!peer) co_return Error(ErrorCode::unavailable, "the node is not connected");
  rpc::Payload payload;
  payload.body = std::move(body);
  auto answer = co_await peer->call(std::move(method), std::move(payload), deadline);
  if (!answer) co_return answer.error();
  co_return std::move(answer.value().body);
}

Task<Result<json::object>> NodeLink::info() {
  json::object nothing;
  co_return co_await call("node.info", std::move(nothing), kInfoDeadline);
}

Task<Result<std::vector<NodeBox>>> NodeLink::list_boxes() {
  json::object nothing;
  HAKO_CO_TRY(auto answer, co_await call("box.list", std::move(nothing), kReconcileListDeadline));
  const json::value* list = answer.if_contains("boxes");
  if (!list || !list->is_array()) {
    co_return Error(ErrorCode::corrupted, "box.list: boxes must be an array");
  }
  std::vector<NodeBox> boxes;
  for (const json::value& item : list->get_array()) {
    const json::object* fields = item.if_object();
    if (!fields) co_return Error(ErrorCode::corrupted, "box.list: a box must be an object");
    FieldReader reader(*fields, "box.list: ");
    NodeBox box;
    box.id = reader.text("box", kLongestName).value_or("");
    box.started_ms = reader.number("started_ms", 0, INT64_MAX).value_or(0);
    box.ends_ms = reader.number("ends_ms", 0, INT64_MAX).value_or(0);
    box.vcpus = int(reader.number("vcpus", 0, INT32_MAX).value_or(0));
    box.memory_mib = int(reader.number("memory_mib", 0, INT32_MAX).value_or(0));
    box.disk_mib = int(reader.number("disk_mib", 0, INT32_MAX).value_or(0));
    box.isolation = reader.text("isolation", kLongestName).value_or("");
    HAKO_CO_TRYV(reader.outcome());
    boxes.push_back(std::move(box));
  }
  co_return boxes;
}

Task<Result<std::vector<NodeCheckpoint>>> NodeLink::list_checkpoints() {
  json::object nothing;
  HAKO_CO_TRY(auto answer,
              co_await call("checkpoint.list", std::move(nothing), kReconcileListDeadline));
  const json::value* list = answer.if_contains("checkpoints");
  if (!list || !list->is_array()) {
    co_return Error(ErrorCode::corrupted, "checkpoint.list: checkpoints must be an array");
  }
  std::vector<NodeCheckpoint> checkpoints;
  for (const json::value& item : list->get_array()) {
    const json::object* fields = item.if_object();
    if (!fields) {
      co_return Error(ErrorCode::corrupted, "checkpoint.list: a checkpoint must be an object");
    }
    FieldReader reader(*fields, "checkpoint.list: ");
    NodeCheckpoint checkpoint;
    checkpoint.id = reader.text("checkpoint", kLongestName).value_or("");
    checkpoint.tenant = reader.text("tenant", kLongestName).value_or("");
    checkpoint.with_memory = reader.flag("memory").value_or(true);
    checkpoint.created_ms = reader.number("created_ms", 0, INT64_MAX).value_or(0);
    HAKO_CO_TRYV(reader.outcome());
    checkpoints.push_back(std::move(checkpoint));
  }
  co_return checkpoints;
}

}  // namespace hako::api
