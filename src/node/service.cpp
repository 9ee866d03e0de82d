#include "node/service.h"

#include <algorithm>

#include "base/log.h"
#include "node/certificate.h"
#include "node/json_fields.h"

namespace hako::node {
namespace {

boost::json::object describe(const VmRecord& record) {
  return {{"box", record.box},
          {"tenant", record.tenant},
          {"template", record.template_name},
          {"memory_mib", record.size.memory_mib},
          {"vcpus", record.size.vcpus},
          {"disk_mib", record.disk_mib},
          {"started_ms", to_unix_ms(record.started)},
          {"ends_ms", to_unix_ms(record.ends)},
          {"isolation", engine::to_string(record.isolation)},
          {"state", "running"},
          {"on_end", to_json(record.on_end)}};
}

rpc::Payload payload(boost::json::object body) {
  rpc::Payload answer;
  answer.body = std::move(body);
  return answer;
}

/// What the api may pass on to users as it is. A system call that failed on this host is none of
/// their business, whatever code it comes with; that the disk is full they may know.
Error fit_for_users(const Error& error) {
  if (error.os_error() == 0) return error;
  ErrorCode code = error.code();
  // Out of memory or descriptors: others may end.
  if (code == ErrorCode::resource_exhausted)
    return Error(ErrorCode::no_capacity, "this node is out of memory or open files");
  bool known = code == ErrorCode::no_space || code == ErrorCode::unavailable ||
               code == ErrorCode::timed_out;
  return Error(known ? code : ErrorCode::internal, error.message());
}

Task<Result<rpc::Payload>> answer_for_users(Task<Result<rpc::Payload>> asked) {
  auto answer = co_await std::move(asked);
  if (!answer) co_return fit_for_users(answer.error());
  co_return std::move(answer);
}

std::optional<int> small_integer(Fields& fields, const boost::json::object& body,
                                 std::string_view name) {
  if (!body.contains(name)) return std::nullopt;
  int64_t value = fields.integer(name);
  return static_cast<int>(std::clamp<int64_t>(value, -1, 1 << 30));
}

/// What box.create, box.rollback and each child of box.fork say of secrets. invalid_argument.
Result<Trust> parse_trust(const boost::json::object& body) {
  constexpr size_t kLongestCertificate = 8192;
  constexpr size_t kMostPlaceholders = 64;
  Fields fields(body);
  Trust trust;
  trust.ca_certificate = fields.text_or("ca_certificate", "");
  trust.placeholders = fields.object_or_empty("placeholders");
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  bool texts = std::all_of(trust.placeholders.begin(), trust.placeholders.end(),
                           [](const auto& entry) { return entry.value().is_string(); });
  if (!texts || trust.placeholders.size() > kMostPlaceholders ||
      trust.ca_certificate.size() > kLongestCertificate) {
    return Error(ErrorCode::invalid_argument, "ca_certificate or placeholders are not as they must be");
  }
  return trust;
}

/// What box.create and each child of box.fork have in common.
Result<CreateBox> parse_create(const boost::json::object& body) {
  Fields fields(body);
  CreateBox create;
  create.box = fields.text("box");
  create.tenant = fields.text_or("tenant", kDefaultTenant);
  create.ends = from_unix_ms(fields.integer("ends_ms"));
  create.access_token = fields.text_or("access_token", "");
  create.envs = fields.object_or_empty("envs");
  create.ingress = fields.object_or_empty("ingress");
  create.egress = fields.object_or_empty("egress");
  auto on_end = fields.object_or_empty("on_end");
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_TRY(create.trust, parse_trust(body));
  if (!on_end.empty()) {
    HAKO_TRY(create.on_end, parse_on_end(on_end));
  }
  return create;
}

boost::json::object describe(const Boxes::Created& created) {
  boost::json::object body = describe(created.record);
  body["from_pool"] = created.from_pool;
  return body;
}

boost::json::object describe(const CheckpointRecord& record) {
  return {{"checkpoint", record.id},
          {"tenant", record.tenant},
          {"box", record.box},
          {"template", record.template_name},
          {"memory", record.memory},
          {"created_ms", to_unix_ms(record.created)},
          {"bytes", record.bytes},
          {"memory_mib", record.size.memory_mib},
          {"vcpus", record.size.vcpus},
          {"disk_mib", record.disk_mib}};
}

bool boolean(const boost::json::object& body, std::string_view name, bool otherwise) {
  const auto* value = body.if_contains(name);
  return value && value->is_bool() ? value->get_bool() : otherwise;
}

}  // namespace

Service::Service(Context& context, Boxes& boxes, Templates& templates, Checkpoints& checkpoints)
    : context_(context),
      boxes_(boxes),
      templates_(templates),
      checkpoints_(checkpoints),
      template_service_(context, boxes, templates) {}

Task<void> Service::serve(Fd connection) {
  auto peer =
      std::make_shared<rpc::Peer>(co_await asio::this_coro::executor, std::move(connection));
  using Method = Answer (Service::*)(rpc::Payload);
  const std::pair<const char*, Method> methods[] = {
      {"node.info", &Service::info},          {"box.create", &Service::create_box},
      {"box.destroy", &Service::destroy_box}, {"box.set_end", &Service::set_end},
      {"box.list", &Service::list_boxes},     {"box.console", &Service::console},
      {"box.egress", &Service::set_egress},   {"api.certificate", &Service::api_certificate},
      {"box.checkpoint", &Service::checkpoint_box},
      {"box.fork", &Service::fork_box},
      {"box.rollback", &Service::roll_back_box},
      {"checkpoint.remove", &Service::remove_checkpoint},
      {"checkpoint.list", &Service::list_checkpoints},
  };
  for (const auto& [name, method] : methods) {
    rpc::Handler handler = [this, method = method](rpc::Payload request) {
      return answer_for_users((this->*method)(std::move(request)));
    };
    peer->on(name, std::move(handler));
  }
  auto begun = std::make_shared<TemplateService::Begun>();
  template_service_.attach(*peer, begun);
  peers_.insert(peer);
  struct Leave {
    std::set<std::shared_ptr<rpc::Peer>>& peers;
    std::shared_ptr<rpc::Peer> peer;
    ~Leave() { peers.erase(peer); }
  } leave{peers_, peer};
  co_await peer->run();
  co_await run_to_end(template_service_.abort_all(begun));
}

void Service::tell_gone(const std::string& box, EndReason reason, const std::string& detail) {
  for (const auto& peer : peers_) {
    boost::json::object body = {{"box", box}, {"reason", to_string(reason)}, {"detail", detail}};
    auto told = peer->tell("box.gone", payload(std::move(body)));
    // An api that is not told finds out when it compares its records with box.list.
    if (!told) log_warn("api_not_told", {{"box", box}, {"error", told.error().message()}});
  }
}

void Service::tell_records(RecordKind kind, BoxRecords records) {
  if (!boxes_.is_machine_of(records.machine, records.box)) {
    log_warn("records_of_nobody", {{"machine", records.machine}, {"box", records.box}});
    return;
  }
  boost::json::object body = {{"box", records.box}};
  body["records"] = std::move(records.records);
  for (const auto& peer : peers_) {
    auto told = peer->tell(kind == RecordKind::egress ? "box.egress" : "box.access", payload(body));
    if (!told)
      log_warn("api_not_told", {{"box", records.box}, {"error", told.error().message()}});
  }
}

Result<void> Service::check_tenant(const boost::json::object& body, const std::string& box) const {
  if (!body.contains("tenant")) return ok();
  Fields fields(body);
  std::string tenant = fields.text("tenant");
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  return boxes_.check_tenant(box, tenant);
}

Service::Answer Service::info(rpc::Payload) {
  const auto& fingerprint = context_.engine.fingerprint();
  boost::json::array names;
  size_t pooled = 0;
  for (const auto& what : templates_.list()) {
    names.emplace_back(what.name);
    pooled += boxes_.pooled(what.name);
  }
  boost::json::object body = {{"isolation", engine::to_string(fingerprint.isolation)},
                              {"engine", fingerprint.engine},
                              {"accel_reason", context_.engine.accel_reason()},
                              {"boxes", boxes_.list().size()},
                              {"pooled", pooled},
                              {"gate", context_.gate.connected()}};
  body["templates"] = std::move(names);
  co_return payload(std::move(body));
}

Service::Answer Service::create_box(rpc::Payload request) {
  HAKO_CO_TRY(auto create, parse_create(request.body));
  Fields fields(request.body);
  create.checkpoint = fields.text_or("checkpoint", "");
  if (create.checkpoint.empty()) {
    create.template_name = fields.text("template");
    create.memory_mib = small_integer(fields, request.body, "memory_mib");
    create.vcpus = small_integer(fields, request.body, "vcpus");
  }
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  auto created = co_await boxes_.create(std::move(create));
  if (!created) co_return created.error();
  co_return payload(describe(created.value()));
}

Service::Answer Service::checkpoint_box(rpc::Payload request) {
  Fields fields(request.body);
  std::string box = fields.text("box");
  std::string checkpoint = fields.text("checkpoint");
  std::string then = fields.text("then");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  if (then != "run" && then != "end")
    co_return Error(ErrorCode::invalid_argument, "field 'then' must be \"run\" or \"end\"");
  HAKO_CO_TRYV(check_tenant(request.body, box));
  bool memory = boolean(request.body, "memory", true);
  HAKO_CO_TRY(auto saved, co_await boxes_.save(box, checkpoint, memory, then == "end"));
  co_return payload({{"bytes", saved.bytes}, {"pause_ms", saved.stood_still.count()}});
}

Service::Answer Service::fork_box(rpc::Payload request) {
  Fields fields(request.body);
  std::string box = fields.text("box");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRYV(check_tenant(request.body, box));
  const auto* asked = request.body.if_contains("children");
  if (!asked || !asked->is_array())
    co_return Error(ErrorCode::invalid_argument, "field 'children' must be an array");
  std::vector<CreateBox> children;
  for (const auto& child : asked->get_array()) {
    if (!child.is_object())
      co_return Error(ErrorCode::invalid_argument, "field 'children' must hold objects");
    HAKO_CO_TRY(auto create, parse_create(child.get_object()));
    if (auto parent = request.body.if_contains("tenant"); parent && parent->is_string())
      create.tenant = std::string(parent->get_string());
    children.push_back(std::move(create));
  }
  std::optional<boost::json::object> reaching;
  if (request.body.contains("egress")) reaching = fields.object_or_empty("egress");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRY(auto made, co_await boxes_.fork(std::move(box), std::move(children),
                                              std::move(reaching)));
  boost::json::array answers;
  for (const auto& child : made) {
    if (child) {
      answers.push_back(describe(child.value()));
      continue;
    }
    Error error = fit_for_users(child.error());
    boost::json::object problem = {{"code", to_string(error.code())}, {"message", error.message()}};
    boost::json::object answer;
    answer["error"] = std::move(problem);
    answers.push_back(std::move(answer));
  }
  boost::json::object body;
  body["children"] = std::move(answers);
  co_return payload(std::move(body));
}

Service::Answer Service::roll_back_box(rpc::Payload request) {
  Fields fields(request.body);
  std::string box = fields.text("box");
  std::string checkpoint = fields.text("checkpoint");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRYV(check_tenant(request.body, box));
  HAKO_CO_TRY(auto trust, parse_trust(request.body));
  HAKO_CO_TRY(auto created, co_await boxes_.roll_back(std::move(box), std::move(checkpoint),
                                                      std::move(trust)));
  co_return payload(describe(created));
}

Service::Answer Service::remove_checkpoint(rpc::Payload request) {
  Fields fields(request.body);
  std::string checkpoint = fields.text("checkpoint");
  std::string tenant = fields.text("tenant");
  int64_t created_ms = fields.integer_or("created_ms", -1);
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  const CheckpointRecord* found = checkpoints_.find(checkpoint);
  bool other = found && created_ms >= 0 && to_unix_ms(found->created) != created_ms;
  if (!found || other || (found->problem.empty() && found->tenant != tenant))
    co_return Error(ErrorCode::not_found, "checkpoint " + checkpoint + " does not exist");
  HAKO_CO_TRYV(co_await run_to_end(checkpoints_.remove(std::move(checkpoint))));
  co_return payload({});
}

Service::Answer Service::list_checkpoints(rpc::Payload) {
  boost::json::array all;
  for (const auto& record : checkpoints_.list()) all.push_back(describe(record));
  boost::json::object body;
  body["checkpoints"] = std::move(all);
  co_return payload(std::move(body));
}

Service::Answer Service::destroy_box(rpc::Payload request) {
  Fields fields(request.body);
  std::string box = fields.text("box");
  std::string reason = fields.text_or("reason", "asked for");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRYV(check_tenant(request.body, box));
  HAKO_CO_TRYV(co_await boxes_.destroy(box, EndReason::destroyed, std::move(reason)));
  co_return payload({});
}

Service::Answer Service::set_end(rpc::Payload request) {
  Fields fields(request.body);
  std::string box = fields.text("box");
  WallTime ends = from_unix_ms(fields.integer("ends_ms"));
  auto changed = fields.object_or_empty("on_end");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  OnEnd on_end;
  if (!changed.empty()) {
    HAKO_CO_TRY(on_end, parse_on_end(changed));
  }
  HAKO_CO_TRYV(check_tenant(request.body, box));
  HAKO_CO_TRYV(boxes_.set_end(box, ends, std::move(on_end)));
  co_return payload({});
}

Service::Answer Service::set_egress(rpc::Payload request) {
  Fields fields(request.body);
  std::string box = fields.text("box");
  boost::json::object egress = fields.object("egress");
  std::optional<boost::json::object> ingress;
  if (request.body.contains("ingress")) ingress = fields.object("ingress");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRYV(check_tenant(request.body, box));
  HAKO_CO_TRYV(co_await boxes_.set_egress(std::move(box), std::move(egress), std::move(ingress)));
  co_return payload({});
}

Service::Answer Service::list_boxes(rpc::Payload) {
  boost::json::array all;
  for (const auto& record : boxes_.list()) all.push_back(describe(record));
  boost::json::object body;
  body["boxes"] = std::move(all);
  co_return payload(std::move(body));
}

Service::Answer Service::console(rpc::Payload request) {
  Fields fields(request.body);
  std::string box = fields.text("box");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRYV(check_tenant(request.body, box));
  HAKO_CO_TRY(auto text, co_await boxes_.console(box));
  boost::json::object body;
  // JSON carries Unicode only; what the guest wrote may be anything.
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > 126; }, '?');
  body["text"] = std::move(text);
  co_return payload(std::move(body));
}

Service::Answer Service::api_certificate(rpc::Payload) {
  const config::Config& config = context_.config;
  if (config.api_certificate.empty())
    co_return Error(ErrorCode::not_found, "the configuration names no certificate for the api");
  HAKO_CO_TRY(auto pair, read_certificate(config.api_certificate, config.api_certificate_key));
  boost::json::object body;
  body["certificate"] = std::move(pair.first);
  body["key"] = std::move(pair.second);
  co_return payload(std::move(body));
}

}  // namespace hako::node
