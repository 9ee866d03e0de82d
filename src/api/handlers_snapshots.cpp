// Sandboxes that stand still, go on, go back and are copied.
#include "api/egress_control.h"
#include "api/handlers.h"
#include "api/list_query.h"
#include "api/render.h"
#include "api/snapshots.h"
#include "http/message.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

namespace {

json::object failed_json(const Error& error) {
  json::object failed;
  failed["code"] = http::status_of(error.code());
  failed["message"] = error.message();
  json::object entry;
  entry["error"] = std::move(failed);
  return entry;
}

}  // namespace

Task<Result<Response>> pause(Service& service, const Call& call) {
  HAKO_CO_TRY(bool with_memory, parse_pause(call.body));
  HAKO_CO_TRYV(co_await service.sandboxes.pause(call.parameters[0], call.who, with_memory));
  co_return Response::empty();
}

Task<Result<Response>> resume(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_resume(call.body));
  ResumeRequest how{request.timeout, request.with_memory};
  HAKO_CO_TRY(auto resumed,
              co_await service.sandboxes.resume(call.parameters[0], call.who, std::move(how)));
  HAKO_CO_TRY(auto record, co_await service.egress.give_access(std::move(resumed), call.who));
  ShownTokens tokens = shown_tokens(call.who, record);
  co_return Response::json(201, sandbox_json(record, service.config, tokens));
}

Task<Result<Response>> fork(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_fork(call.body));
  request.client_gone = call.client_gone;
  request.queues = call.queues;
  HAKO_CO_TRY(auto children, co_await service.sandboxes.fork(call.parameters[0], call.who,
                                                             std::move(request)));
  json::array list;
  for (const auto& child : children) {
    if (!child) {
      list.push_back(failed_json(child.error()));
      continue;
    }
    ShownTokens tokens = shown_tokens(call.who, child.value());
    json::object entry;
    entry["sandbox"] = sandbox_json(child.value(), service.config, tokens);
    list.push_back(std::move(entry));
  }
  co_return Response::json(201, list);
}

Task<Result<Response>> snapshot(Service& service, const Call& call) {
  HAKO_CO_TRY(auto name, parse_snapshot(call.body));
  HAKO_CO_TRY(auto taken,
              co_await service.snapshots.take(call.parameters[0], call.who, std::move(name)));
  co_return Response::json(201, snapshot_json(taken));
}

Task<Result<Response>> rollback(Service& service, const Call& call) {
  HAKO_CO_TRY(auto reference, parse_rollback(call.body));
  HAKO_CO_TRY(auto box, co_await service.sandboxes.find_running(call.parameters[0], call.who));
  HAKO_CO_TRY(auto what, co_await service.snapshots.find_of(std::move(reference), std::move(box)));
  HAKO_CO_TRY(auto rolled,
              co_await service.sandboxes.rollback(call.parameters[0], call.who, what.id));
  HAKO_CO_TRY(auto record, co_await service.egress.give_access(std::move(rolled), call.who));
  ShownTokens tokens = shown_tokens(call.who, record);
  co_return Response::json(200, sandbox_json(record, service.config, tokens));
}

Task<Result<Response>> list_snapshots(Service& service, const Call& call) {
  SnapshotQuery query;
  query.sandbox = call.head.parameter("sandboxID").value_or("");
  query.name = call.head.parameter("name").value_or("");
  HAKO_CO_TRY(int limit, read_page_limit(call.head));
  std::optional<store::Position> behind;
  if (auto token = call.head.parameter("nextToken"); token && !token->empty()) {
    HAKO_CO_TRY(behind, read_page_token(*token, store::Order::newest_first));
  }
  HAKO_CO_TRY(auto all, co_await service.snapshots.list(std::move(query), call.who));
  json::array page;
  bool more = false;
  store::Position last;
  for (const store::SnapshotRecord& each : all) {
    bool seen = behind && std::pair(each.created_ms, each.id) >=
                              std::pair(behind->started_ms, behind->id);
    if (seen) continue;
    more = page.size() == size_t(limit);
    if (more) break;
    page.push_back(snapshot_json(each));
    last = {each.created_ms, each.id};
  }
  Response response = Response::json(200, page);
  if (more) {
    response.fields.set("X-Next-Token", write_page_token(last, store::Order::newest_first));
  }
  co_return response;
}

}  // namespace hako::api
