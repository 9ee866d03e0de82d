#include "api/egress_control.h"
#include "api/handlers.h"
#include "api/list_query.h"
#include "api/now.h"
#include "api/render.h"
#include "api/scope.h"
#include "api/template_catalog.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

namespace {

Task<Result<Response>> create(Service& service, const Call& call, Generation generation) {
  HAKO_CO_TRY(auto request, parse_create(call.body, generation));
  HAKO_CO_TRY(auto what, co_await service.catalog.resolve(request.template_reference, call.who));
  request.template_id = what.id;
  request.template_name = what.name;
  request.node_template = what.node_name;
  request.what = what.facts;
  request.label = policy::high_water(request.label, what.label);
  HAKO_CO_TRY(auto sizes, co_await service.catalog.sizes_of(what.node_name));
  request.template_memory_mib = sizes.memory_mib;
  request.template_vcpus = sizes.vcpus;
  request.template_disk_mib = sizes.disk_mib;
  request.client_gone = call.client_gone;
  request.queues = call.queues;
  HAKO_CO_TRY(auto record, co_await service.sandboxes.create(std::move(request), call.who));
  ShownTokens tokens = shown_tokens(call.who, record);
  co_return Response::json(201, sandbox_json(record, service.config, tokens));
}

Task<Result<Response>> connect(Service& service, const Call& call, Generation generation) {
  HAKO_CO_TRY(auto ttl, parse_connect(call.body, generation));
  // Whoever may look into it and not decide about its life is let in, and leaves its end as it is.
  auto control = policy::may(call.who.permission, policy::Action::sandbox_control, unix_now_ms());
  auto finding = control.allowed ? service.sandboxes.extend(call.parameters[0], call.who, ttl)
                                 : service.sandboxes.find(call.parameters[0], call.who);
  HAKO_CO_TRY(auto found, co_await std::move(finding));
  HAKO_CO_TRY(auto record, co_await service.egress.give_access(std::move(found), call.who));
  ShownTokens tokens = shown_tokens(call.who, record);
  co_return Response::json(200, sandbox_json(record, service.config, tokens));
}

Task<Result<Response>> not_supported(Service& service, const Call& call, std::string_view what) {
  HAKO_CO_TRYV(co_await service.sandboxes.find(call.parameters[0], call.who));
  co_return Error(ErrorCode::unsupported, std::string(what) + " is not supported by this server");
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
  if (!request.running) co_return Response::json(200, json::array());
  narrow(request.query, call.who);
  // One more than a page, to know whether there is another.
  store::SandboxQuery query = request.query;
  query.limit += 1;
  auto records = co_await service.store.list_sandboxes(query);
  if (!records) co_return store_error(records.error());
  auto total = co_await service.store.count_sandboxes(request.query);
  if (!total) co_return store_error(total.error());
  bool more = records.value().size() > size_t(request.query.limit);
  if (more) records.value().pop_back();
  Response response = Response::json(200, to_list(records.value()));
  response.fields.set("X-Total-Running", std::to_string(total.value()));
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

Task<Result<Response>> resume(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.sandboxes.find(call.parameters[0], call.who));
  co_return Error(ErrorCode::failed_precondition,
                  "sandbox " + call.parameters[0] + " is already running");
}

Task<Result<Response>> pause(Service& service, const Call& call) {
  if (auto checked = check_pause(call.body); !checked) co_return checked.error();
  co_return co_await not_supported(service, call, "pausing a sandbox");
}

Task<Result<Response>> snapshot(Service& service, const Call& call) {
  if (auto checked = check_snapshot(call.body); !checked) co_return checked.error();
  co_return co_await not_supported(service, call, "taking a snapshot of a sandbox");
}

Task<Result<Response>> fork(Service& service, const Call& call) {
  if (auto checked = check_fork(call.body); !checked) co_return checked.error();
  co_return co_await not_supported(service, call, "forking a sandbox");
}

Task<Result<Response>> update_network(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.egress.update_network(call.parameters[0], call.who, call.body));
  co_return Response::empty();
}

Task<Result<Response>> list_snapshots(Service&, const Call&) {
  co_return Response::json(200, json::array());
}

}  // namespace hako::api
