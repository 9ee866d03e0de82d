// The Model Context Protocol's endpoint.
#include "api/authority.h"
#include "api/handlers.h"
#include "api/mcp_endpoint.h"

namespace hako::api {

Task<Result<http::Response>> mcp_message(Service& service, const Call& call) {
  co_return co_await service.mcp.post(call, service.authority.token_master());
}

Task<Result<http::Response>> mcp_end(Service& service, const Call& call) {
  co_return service.mcp.remove(call, service.authority.token_master());
}

}  // namespace hako::api
