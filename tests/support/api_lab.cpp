#include "support/api_lab.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/clock.h"
#include "base/fd.h"
#include "base/random.h"
#include "http/server.h"
#include "policy/egress_json.h"
#include "support/openapi_check.h"

namespace hako::test {
using namespace std::chrono_literals;

namespace {

config::Config make_config() {
  std::string pattern = std::filesystem::temp_directory_path() / "hako-api-XXXXXX";
  if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary directory");
  config::Config config;
  config.state_dir = pattern + "/state";
  config.run_dir = pattern + "/run";
  config.calls_per_second = 0;  // tests ask faster than anybody should
  std::filesystem::create_directories(config.run_dir);
  config.master_key_file = pattern + "/master-key";
  auto kept = write_file_atomically(config.master_key_file, random_hex(32) + "\n", 0600);
  if (!kept) throw std::runtime_error(kept.error().message());
  return config;
}

json::object described(const json::object& create, const std::string& isolation) {
  json::object box;
  for (const char* name : {"box", "ends_ms"}) box[name] = create.at(name);
  for (const char* name : {"template", "tenant", "on_end"}) {
    if (create.contains(name)) box[name] = create.at(name);
  }
  box["memory_mib"] = create.contains("memory_mib") ? create.at("memory_mib") : json::value(256);
  box["vcpus"] = create.contains("vcpus") ? create.at("vcpus") : json::value(1);
  box["disk_mib"] = 4096;
  box["isolation"] = isolation;
  box["started_ms"] = to_unix_ms(WallClock::now());
  box["state"] = "running";
  return box;
}

}  // namespace

FakeNode::FakeNode(asio::io_context& loop, std::string socket_path)
    : loop_(loop), path_(std::move(socket_path)) {}

void FakeNode::start() {
  auto listener = rpc::listen_unix(path_, 0);
  if (!listener) throw std::runtime_error(listener.error().message());
  tasks_ = std::make_unique<TaskGroup>(loop_.get_executor());
  std::function<Task<void>(Fd, uid_t)> serve_one = [this](Fd connection, uid_t uid) {
    return serve(std::move(connection), uid);
  };
  tasks_->spawn("node", rpc::accept_peers(std::move(listener.value()), {}, std::move(serve_one)));
}

Task<void> FakeNode::stop() {
  if (tasks_) co_await tasks_->stop();
  tasks_.reset();
}

void FakeNode::expire(const std::string& box) {
  json::object ended = boxes.at(box);
  const json::value* on_end = ended.if_contains("on_end");
  if (!on_end) return tell_gone(box, "expired");
  std::string checkpoint(on_end->at("checkpoint").as_string());
  make_checkpoint(ended, checkpoint, on_end->at("memory").as_bool());
  tell_gone(box, "paused", checkpoint);
}

void FakeNode::tell_gone(std::string box, std::string reason, std::string detail) {
  boxes.erase(box);
  for (const auto& weak : peers_) {
    auto peer = weak.lock();
    if (!peer) continue;
    rpc::Payload payload;
    payload.body["box"] = box;
    payload.body["reason"] = reason;
    payload.body["detail"] = detail;
    (void)peer->tell("box.gone", std::move(payload));
  }
}

void FakeNode::tell_egress(std::string box, json::array records) {
  tell_records("box.egress", box, records);
}

void FakeNode::tell_access(std::string box, json::array records) {
  tell_records("box.access", box, records);
}

void FakeNode::tell_records(const char* message, const std::string& box,
                            const json::array& records) {
  for (const auto& weak : peers_) {
    auto peer = weak.lock();
    if (!peer) continue;
    rpc::Payload payload;
    payload.body["box"] = box;
    payload.body["records"] = records;
    (void)peer->tell(message, std::move(payload));
  }
}

policy::EgressPolicy FakeNode::policy_of(const std::string& box) const {
  return policy::parse_egress(egress.at(box).at("egress").as_object()).value();
}

Task<void> FakeNode::serve(Fd connection, uid_t) {
  auto executor = co_await asio::this_coro::executor;
  auto peer = std::make_shared<rpc::Peer>(executor, std::move(connection));
  for (const char* method :
       {"node.info", "template.list", "template.remove", "build.begin", "build.abort", "box.create",
        "box.destroy", "box.set_end", "box.list", "box.console", "box.egress", "api.certificate",
        "box.checkpoint", "box.fork", "box.rollback", "checkpoint.remove", "checkpoint.list"}) {
    rpc::Handler handler = [this, method](rpc::Payload payload) {
      return answer(method, std::move(payload));
    };
    peer->on(method, std::move(handler));
  }
  peers_.push_back(peer);
  co_await peer->run();
}

Task<Result<rpc::Payload>> FakeNode::answer(std::string method, rpc::Payload payload) {
  calls.push_back(method);
  if (method == "box.create" && create_takes > Duration::zero()) co_await sleep_for(create_takes);
  if (method == "build.begin") {
    begun.push_back(payload.body);
    while (hold_builds) co_await sleep_for(2ms);
  }
  std::optional<Answer> given = before ? before(method, payload.body) : std::nullopt;
  Answer made = given ? *given : usual_answer(method, payload.body);
  if (!made) co_return made.error();
  rpc::Payload reply;
  reply.body = std::move(made.value());
  co_return std::move(reply);
}

FakeNode::Answer FakeNode::usual_answer(const std::string& method, const json::object& body) {
  json::object reply;
  if (method == "node.info") {
    reply = {{"isolation", isolation}, {"engine", "qemu"},      {"accel_reason", "a test"},
             {"templates", {"base"}},  {"boxes", boxes.size()}, {"pooled", 0}};
    return reply;
  }
  if (method == "template.list") {
    json::array list;
    for (const std::string& name : templates) {
      json::object made = {{"name", name},     {"memory_mib", 256}, {"vcpus", 1},
                           {"disk_mib", 4096}, {"state", "ready"},  {"pooled", 2},
                           {"created_ms", 5}};
      list.push_back(std::move(made));
    }
    reply["templates"] = std::move(list);
    return reply;
  }
  if (method == "build.begin" || method == "build.abort") {
    return Error(ErrorCode::failed_precondition, "this node builds nothing");
  }
  if (method == "template.remove") return reply;
  if (method == "api.certificate") return certificate;
  if (method == "box.list") {
    json::array list;
    for (const auto& [id, box] : boxes) list.push_back(box);
    reply["boxes"] = std::move(list);
    return reply;
  }
  if (method.starts_with("checkpoint.") || method == "box.checkpoint" || method == "box.fork" ||
      method == "box.rollback") {
    if (!keeps_checkpoints) return Error(ErrorCode::unsupported, "unknown method");
    return answer_of_checkpoints(method, body);
  }
  std::string id(body.at("box").as_string());
  if (method == "box.create") {
    auto made = make_box(body);
    if (made) last_create = body;
    if (made && created) created();
    return made;
  }
  auto box = boxes.find(id);
  if (box == boxes.end()) return Error(ErrorCode::not_found, "no box " + id);
  if (method == "box.destroy") boxes.erase(box);
  if (method == "box.egress") egress[id] = body;
  if (method == "box.set_end") {
    box->second["ends_ms"] = body.at("ends_ms");
    box->second.erase("on_end");
    if (body.contains("on_end")) box->second["on_end"] = body.at("on_end");
  }
  if (method == "box.console") reply["text"] = "first\r\n\x1b[1msecond\n";
  return reply;
}

FakeNode::Answer FakeNode::make_box(const json::object& body) {
  std::string id(body.at("box").as_string());
  json::object described_as = body;
  if (body.contains("checkpoint")) {
    std::string name(body.at("checkpoint").as_string());
    auto kept = checkpoints.find(name);
    if (kept == checkpoints.end()) return Error(ErrorCode::not_found, "no checkpoint " + name);
    if (damaged.contains(name)) return Error(ErrorCode::corrupted, "its checksum is wrong");
    for (const char* size : {"memory_mib", "vcpus"}) {
      if (body.contains(size)) return Error(ErrorCode::invalid_argument, "a checkpoint has its size");
      described_as[size] = kept->second.at(size);
    }
  } else if (!templates.contains(std::string(body.at("template").as_string()))) {
    return Error(ErrorCode::not_found, "there is no such template");
  }
  if (boxes.contains(id)) return Error(ErrorCode::already_exists, "box " + id + " is there");
  egress[id] = body;
  json::object reply = boxes[id] = described(described_as, isolation);
  reply["from_pool"] = true;
  return reply;
}

void FakeNode::make_checkpoint(const json::object& box, const std::string& checkpoint,
                               bool memory) {
  json::object made = box;
  for (const char* name : {"ends_ms", "state", "started_ms", "isolation", "on_end"}) {
    made.erase(name);
  }
  if (!made.contains("tenant")) made["tenant"] = "default";
  made["checkpoint"] = checkpoint;
  made["memory"] = memory;
  made["created_ms"] = to_unix_ms(WallClock::now());
  made["bytes"] = 1000;
  checkpoints[checkpoint] = std::move(made);
}

FakeNode::Answer FakeNode::answer_of_checkpoints(const std::string& method,
                                                 const json::object& body) {
  json::object reply;
  if (method == "checkpoint.list") {
    json::array list;
    for (const auto& [name, checkpoint] : checkpoints) list.push_back(checkpoint);
    reply["checkpoints"] = std::move(list);
    return reply;
  }
  if (method == "checkpoint.remove") {
    std::string name(body.at("checkpoint").as_string());
    if (!checkpoints.contains(name) || checkpoints[name].at("tenant") != body.at("tenant")) {
      return Error(ErrorCode::not_found, "no checkpoint " + name);
    }
    if (body.contains("created_ms") && body.at("created_ms") != checkpoints[name].at("created_ms")) {
      return Error(ErrorCode::not_found, "no such checkpoint " + name);
    }
    checkpoints.erase(name);
    return reply;
  }
  std::string id(body.at("box").as_string());
  auto box = boxes.find(id);
  if (box == boxes.end()) return Error(ErrorCode::not_found, "no box " + id);
  if (method == "box.checkpoint") {
    make_checkpoint(box->second, std::string(body.at("checkpoint").as_string()),
                    body.at("memory").as_bool());
    if (body.at("then") == "end") boxes.erase(box);
    reply["bytes"] = 1000;
    reply["pause_ms"] = 5;
    return reply;
  }
  if (method == "box.rollback") {
    std::string name(body.at("checkpoint").as_string());
    if (!checkpoints.contains(name)) return Error(ErrorCode::not_found, "no checkpoint " + name);
    if (damaged.contains(name)) return Error(ErrorCode::corrupted, "its checksum is wrong");
    return box->second;
  }
  if (egress[id].at("egress") != body.at("egress")) {
    return Error(ErrorCode::failed_precondition, "what the box may reach has changed");
  }
  json::object parent = box->second;
  json::array children;
  for (const json::value& child : body.at("children").as_array()) {
    json::object create = child.as_object();
    create["tenant"] = body.at("tenant");
    create["template"] = "base";
    for (const char* size : {"memory_mib", "vcpus"}) create[size] = parent.at(size);
    auto made = make_box(create);
    json::object failed;
    if (!made) {
      failed["code"] = to_string(made.error().code());
      failed["message"] = made.error().message();
      json::object entry;
      entry["error"] = std::move(failed);
      children.push_back(std::move(entry));
    } else {
      children.push_back(std::move(made.value()));
    }
  }
  reply["children"] = std::move(children);
  return reply;
}

std::string Reply::message() const {
  const json::object* fields = body.if_object();
  const json::value* text = fields ? fields->if_contains("message") : nullptr;
  return text && text->is_string() ? std::string(text->get_string()) : std::string();
}

bool takes(const json::object& ingress, const json::value& token, std::string_view action) {
  const json::value* grants = ingress.if_contains("grants");
  if (!grants) return false;
  for (const json::value& grant : grants->as_array()) {
    if (grant.at("token") != token) continue;
    for (const json::value& word : grant.at("actions").as_array()) {
      if (word.as_string() == json::string_view(action.data(), action.size())) return true;
    }
  }
  return false;
}

ApiLab::ApiLab() : config(make_config()), node(loop, config.node_socket()) {}

ApiLab::~ApiLab() {
  std::filesystem::remove_all(std::filesystem::path(config.state_dir).parent_path());
}

Task<void> ApiLab::run_api() {
  api::ApiOptions options;
  options.stay_root = true;
  options.certificate_look = 50ms;
  auto listener = http::listen_tcp(config.api_address, 0);
  if (!listener) throw std::runtime_error(listener.error().message());
  options.listener = std::move(listener.value());
  options.on_listening = [this](uint16_t bound) { port = bound; };
  outcome.emplace(co_await api::run_api(config, std::move(options)));
}

Task<bool> ApiLab::start_api() {
  auto prepared = api::prepare_api_state(config);
  if (!prepared) throw std::runtime_error(prepared.error().message());
  key = read_file(config.key_file()).value();
  key.pop_back();
  port = 0;
  outcome.reset();
  api_tasks_ = std::make_unique<TaskGroup>(loop.get_executor());
  api_tasks_->spawn("api", run_api());
  std::function<bool()> settled = [this] { return port != 0 || outcome; };
  co_await eventually(std::move(settled));
  co_return port != 0;
}

Task<void> ApiLab::stop_api() {
  if (api_tasks_) co_await api_tasks_->stop();
  api_tasks_.reset();
}

Task<void> ApiLab::start() {
  node.start();
  if (!co_await start_api()) throw std::runtime_error("the API does not start");
  for (;;) {
    auto reply = co_await ask(http::Verb::get, "/health");
    if (reply.body.at("node") == "connected") break;
    co_await sleep_for(5ms);
  }
  // The last of what it asks a node that it has found.
  std::function<bool()> settled = [this] {
    return std::find(node.calls.begin(), node.calls.end(), "template.list") != node.calls.end();
  };
  co_await eventually(std::move(settled));
}

Task<void> ApiLab::stop() {
  co_await stop_api();
  co_await node.stop();
}

Task<Reply> ApiLab::ask(http::Verb method, std::string target, std::string body) {
  return ask_with_key(method, std::move(target), std::move(body), key);
}

Task<Reply> ApiLab::ask_with_key(http::Verb method, std::string target, std::string body,
                                 std::string with_key) {
  http::Fields fields;
  if (!with_key.empty()) fields.set("X-API-KEY", with_key);
  return send(method, std::move(target), std::move(body), std::move(fields));
}

Task<Reply> ApiLab::ask_in(std::string tenant, http::Verb method, std::string target,
                           std::string body) {
  http::Fields fields;
  fields.set("X-API-KEY", key);
  fields.set("X-Hako-Tenant", tenant);
  return send(method, std::move(target), std::move(body), std::move(fields));
}

Task<Reply> ApiLab::send(http::Verb method, std::string target, std::string body,
                         http::Fields fields) {
  auto stream = co_await http::connect_tcp("127.0.0.1", port, 5s);
  if (!stream) throw std::runtime_error(stream.error().message());
  http::Client client(std::move(stream.value()));
  http::Request request;
  request.method = method;
  std::string path = target.substr(0, target.find('?'));
  request.target = std::move(target);
  request.fields = std::move(fields);
  request.fields.set(http::Field::host, "127.0.0.1");
  request.body = std::move(body);
  auto response = co_await with_deadline(20s, client.exchange(std::move(request)));
  if (!response) throw std::runtime_error(response.error().message());
  Reply reply;
  reply.status = response.value().status;
  reply.fields = response.value().fields;
  boost::system::error_code error;
  if (!response.value().body.empty()) reply.body = json::parse(response.value().body, error);
  EXPECT_FALSE(error) << path << " gave no JSON: " << response.value().body.substr(0, 200);
  EXPECT_EQ(disagreement(method, path, reply.status, reply.body), "") << path;
  co_return reply;
}

Task<std::string> ApiLab::create(std::string body) {
  auto reply = co_await ask(http::Verb::post, "/v2/sandboxes", std::move(body));
  if (reply.status != 201) throw std::runtime_error("create: " + reply.message());
  co_return std::string(reply.body.at("sandboxID").as_string());
}

Task<bool> ApiLab::eventually(std::function<bool()> holds) {
  auto end = std::chrono::steady_clock::now() + 10s;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) co_return false;
    co_await sleep_for(2ms);
  }
  co_return true;
}

Task<bool> ApiLab::eventually_status(std::string target, unsigned status) {
  auto end = std::chrono::steady_clock::now() + 10s;
  for (;;) {
    auto reply = co_await ask(http::Verb::get, target);
    if (reply.status == status) co_return true;
    if (std::chrono::steady_clock::now() > end) co_return false;
    co_await sleep_for(5ms);
  }
}

}  // namespace hako::test
