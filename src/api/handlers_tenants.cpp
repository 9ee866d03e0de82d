// Tenants.
#include "api/handlers.h"
#include "api/tenants.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

Task<Result<Response>> list_tenants(Service& service, const Call& call) {
  HAKO_CO_TRY(auto all, co_await service.tenants.list(call.who));
  co_return listed("tenants", all, tenant_json);
}

Task<Result<Response>> get_tenant(Service& service, const Call& call) {
  HAKO_CO_TRY(auto tenant, co_await service.tenants.find(call.parameters[0], call.who));
  json::object answer = tenant_json(tenant.record);
  if (sees_whole_tenant(call.who, tenant.record)) answer["usage"] = usage_json(tenant);
  co_return Response::json(200, answer);
}

Task<Result<Response>> create_tenant(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_new_tenant(call.body));
  HAKO_CO_TRY(auto record, co_await service.tenants.add(std::move(request)));
  co_return Response::json(201, tenant_json(record));
}

Task<Result<Response>> update_tenant(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_tenant_change(call.body));
  HAKO_CO_TRY(auto record,
              co_await service.tenants.change(call.parameters[0], std::move(request)));
  co_return Response::json(200, tenant_json(record));
}

Task<Result<Response>> delete_tenant(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.tenants.remove(call.parameters[0]));
  co_return Response::empty();
}

}  // namespace hako::api
