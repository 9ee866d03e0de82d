#include "api/checkpoints.h"
#include "api/egress_control.h"
#include "api/handlers.h"
#include "api/list_query.h"
#include "api/now.h"
#include "api/render.h"
#include "api/sandbox_calls.h"
#include "api/scope.h"
#include "api/snapshots.h"
#include "api/template_catalog.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

namespace {

/// A snapshot is a template in the place of one, and has its own sizes.
Task<Result<bool>> take_snapshot(Service& service, const Call& call, CreateRequest& request) {
  HAKO_CO_TRY(auto found, co_await service.snapshots.find_for_create(request.template_reference,
                                                                     call.who));
  if (!found) co_return false;
  bool other_size = (request.memory_mib && *request.memory_mib != found->memory_mib) ||
                    (request.vcpus && *request.vcpus != found->vcpus);
  if (other_size) {
    co_return Error(ErrorCode::invalid_argument,
                    "memoryMB and cpuCount: a sandbox that is made of a snapshot has its size");
  }
  ResolvedTemplate what = resolved(*found);
  request.template_id = what.id;
  request.template_name = what.name;
  request.checkpoint = found->id;
  request.what = what.facts;
  request.label = policy::high_water(request.label, what.label);
  SandboxOptions source = parse_options(found->options);
  request.made_of_under = both(source.made_under, source.changed_under);
  request.template_memory_mib = found->memory_mib;
  request.template_vcpus = found->vcpus;
  request.template_disk_mib = found->disk_mib;
  co_return true;
}

Task<Result<void>> take_template(Service& service, const Call& call, CreateRequest& request) {
  // Nobody gets anything else by the id of a snapshot.
  bool is_id = is_snapshot_id(request.template_reference.substr(
      0, request.template_reference.find(':')));
  if (is_id) {
    HAKO_CO_TRY(bool found, co_await take_snapshot(service, call, request));
    if (found) co_return ok();
  }
  auto resolved = co_await service.catalog.resolve(request.template_reference, call.who);
  if (!resolved && resolved.error().code() == ErrorCode::not_found && !is_id) {
    HAKO_CO_TRY(bool found, co_await take_snapshot(service, call, request));
    if (found) co_return ok();
  }
  if (!resolved) co_return resolved.error();
  const ResolvedTemplate& what = resolved.value();
  request.template_id = what.id;
  request.template_name = what.name;
  request.node_template = what.node_name;
  request.what = what.facts;
  request.label = policy::high_water(request.label, what.label);
  HAKO_CO_TRY(auto sizes, co_await service.catalog.sizes_of(what.node_name));
  request.template_memory_mib = sizes.memory_mib;
  request.template_vcpus = sizes.vcpus;
  request.template_disk_mib = sizes.disk_mib;
  co_return ok();
}

Task<Result<Response>> create(Service& service, const Call& call, Generation generation) {
  HAKO_CO_TRY(auto request, parse_create(call.body, generation));
  HAKO_CO_TRYV(co_await take_template(service, call, request));
  request.client_gone = call.client_gone;
  request.queues = call.queues;
  HAKO_CO_TRY(auto record, co_await service.sandboxes.create(std::move(request), call.who));
  ShownTokens tokens = shown_tokens(call.who, record);
  co_return Response::json(201, sandbox_json(record, service.config, tokens));
}

/// Goes on with one that is paused, or moves the end of one that runs. Whoever may look into it and
/// not decide about its life is let in, and leaves its end as it is. Whether it had to be resumed.
Task<Result<bool>> connect_to(Service& service, const Call& call, const ConnectRequest& request,
                              std::optional<store::SandboxRecord>& connected) {
  const std::string& id = call.parameters[0];
  auto control = policy::may(call.who.permission, policy::Action::sandbox_control, unix_now_ms());
  HAKO_CO_TRY(auto found, co_await service.sandboxes.find(id, call.who));
  bool runs = found.state == store::SandboxState::running;
  if (runs && !control.allowed) {
    connected = std::move(found);
    co_return false;
  }
  if (!control.allowed) co_return refused_by(control);
  if (runs) {
    auto extended = co_await service.sandboxes.extend(id, call.who, request.timeout);
    if (extended) connected = std::move(extended.value());
    if (extended) co_return false;
    // Its end may just have paused it.
    if (extended.error().code() != ErrorCode::failed_precondition) co_return extended.error();
  }
  if (found.state == store::SandboxState::pausing) co_return wrong_state(id, found.state);
  ResumeRequest how{request.timeout, request.with_memory};
  HAKO_CO_TRY(connected, co_await service.sandboxes.resume(id, call.who, std::move(how)));
  // Others may have woken it, and for less time.
  HAKO_CO_TRY(connected, co_await service.sandboxes.extend(id, call.who, request.timeout));
  co_return true;
}

Task<Result<Response>> connect(Service& service, const Call& call, Generation generation) {
  HAKO_CO_TRY(auto request, parse_connect(call.body, generation));
  std::optional<store::SandboxRecord> connected;
  HAKO_CO_TRY(bool resumed, co_await connect_to(service, call, request, connected));
  HAKO_CO_TRY(auto record, co_await service.egress.give_access(std::move(*connected), call.who));
  ShownTokens tokens = shown_tokens(call.who, record);
  co_return Response::json(resumed ? 201 : 200, sandbox_json(record, service.config, tokens));
}

Error store_error(const Error& error) {
  return error_for_user(error, "records not read");
}

json::array to_list(const std::vector<store::SandboxRecord>& records) {
  json::array list;
  for (const auto& record : records) list.push_back(listed_json(record));
  return list;
}

}  // namespace

Task<Result<Response>> create_sandbox_v1(Service& service, const Call& call) {
  return create(service, call, Generation::v1);
}

Task<Result<Response>> create_sandbox_v2(Service& service, const Call& call) {
  return create(service, call, Generation::v2);
}

Task<Result<Response>> list_sandboxes_v2(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_list(call.head, unix_now_ms()));
  narrow(request.query, call.who);
  // One more than a page, to know whether there is another.
  store::SandboxQuery query = request.query;
  query.limit += 1;
  auto records = co_await service.store.list_sandboxes(query);
  if (!records) co_return store_error(records.error());
  bool counts = request.query.running;
  store::SandboxQuery running = request.query;
  running.paused = false;
  Result<int64_t> total = int64_t(0);
  if (counts) total = co_await service.store.count_sandboxes(std::move(running));
  if (!total) co_return store_error(total.error());
  bool more = records.value().size() > size_t(request.query.limit);
  if (more) records.value().pop_back();
  Response response = Response::json(200, to_list(records.value()));
  if (counts) response.fields.set("X-Total-Running", std::to_string(total.value()));
  if (more) {
    const auto& last = records.value().back();
    store::Position position{last.started_ms, last.id};
    response.fields.set("X-Next-Token", write_page_token(position, query.order));
  }
  co_return response;
}

Task<Result<Response>> list_sandboxes_v1(Service& service, const Call& call) {
  store::SandboxQuery query;
  query.alive_at_ms = unix_now_ms();
  query.limit = service.config.max_boxes;
  narrow(query, call.who);
  if (auto metadata = call.head.parameter("metadata")) {
    HAKO_CO_TRY(query.metadata, decode_metadata_filter(*metadata));
  }
  auto records = co_await service.store.list_sandboxes(std::move(query));
  if (!records) co_return store_error(records.error());
  co_return Response::json(200, to_list(records.value()));
}

Task<Result<Response>> get_sandbox(Service& service, const Call& call) {
  HAKO_CO_TRY(auto record, co_await service.sandboxes.find(call.parameters[0], call.who));
  ShownTokens tokens;
  // What there is to see can be seen without a token, too: nobody loses theirs for it.
  auto let_in = co_await service.egress.give_access(record, call.who, Room::if_free);
  if (let_in) tokens = shown_tokens(call.who, let_in.value());
  co_return Response::json(200, detail_json(record, service.config, tokens));
}

Task<Result<Response>> delete_sandbox(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.sandboxes.destroy(call.parameters[0], call.who));
  co_return Response::empty();
}

Task<Result<Response>> set_timeout(Service& service, const Call& call) {
  HAKO_CO_TRY(auto ttl, parse_timeout(call.body));
  HAKO_CO_TRYV(co_await service.sandboxes.set_timeout(call.parameters[0], call.who, ttl));
  co_return Response::empty();
}

Task<Result<Response>> refresh(Service& service, const Call& call) {
  HAKO_CO_TRY(auto ttl, parse_refresh(call.body));
  HAKO_CO_TRYV(co_await service.sandboxes.extend(call.parameters[0], call.who, ttl));
  co_return Response::empty();
}

Task<Result<Response>> connect_v1(Service& service, const Call& call) {
  return connect(service, call, Generation::v1);
}

Task<Result<Response>> connect_v2(Service& service, const Call& call) {
  return connect(service, call, Generation::v2);
}

Task<Result<Response>> update_network(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.egress.update_network(call.parameters[0], call.who, call.body));
  co_return Response::empty();
}

}  // namespace hako::api
