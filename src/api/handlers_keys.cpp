// Keys and tokens. A secret is in the answer that follows on its making, and nowhere else.
#include "api/authority.h"
#include "api/handlers.h"
#include "api/key_records.h"
#include "api/now.h"
#include "api/tokens.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

namespace {

json::object shown(const store::ApiKey& key) {
  return key_json(key, unix_now_ms());
}

json::object issued_json(const IssuedKey& issued) {
  json::object object = shown(issued.record);
  object["key"] = issued.key;
  return object;
}

}  // namespace

Task<Result<Response>> list_keys(Service& service, const Call& call) {
  HAKO_CO_TRY(auto keys, co_await service.keys.list(call.who));
  co_return listed("keys", keys, shown);
}

Task<Result<Response>> get_key(Service& service, const Call& call) {
  HAKO_CO_TRY(auto key, co_await service.keys.find(call.parameters[0], call.who));
  co_return Response::json(200, shown(key));
}

Task<Result<Response>> create_key(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_key_request(call.body));
  HAKO_CO_TRY(auto issued, co_await service.keys.create(std::move(request), call.who));
  co_return Response::json(201, issued_json(issued));
}

Task<Result<Response>> update_key(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_key_request(call.body));
  HAKO_CO_TRY(auto key,
              co_await service.keys.change(call.parameters[0], std::move(request), call.who));
  co_return Response::json(200, shown(key));
}

Task<Result<Response>> rotate_key(Service& service, const Call& call) {
  HAKO_CO_TRY(int64_t grace_s, parse_rotation(call.body));
  HAKO_CO_TRY(auto issued, co_await service.keys.rotate(call.parameters[0], grace_s, call.who));
  co_return Response::json(200, issued_json(issued));
}

Task<Result<Response>> delete_key(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.keys.remove(call.parameters[0], call.who));
  co_return Response::empty();
}

Task<Result<Response>> mint_token(Service& service, const Call& call) {
  HAKO_CO_TRY(auto wanted, parse_token_request(call.body));
  std::string shown(call.head.header(kKeyHeader));
  HAKO_CO_TRY(auto minted,
              co_await service.tokens.mint(std::move(wanted), call.who, std::move(shown)));
  json::object answer;
  answer["token"] = minted.text;
  answer["tokenID"] = minted.token.identifier;
  json::array caveats(minted.token.caveats.begin(), minted.token.caveats.end());
  answer["caveats"] = std::move(caveats);
  co_return Response::json(201, answer);
}

Task<Result<Response>> revoke_token(Service& service, const Call& call) {
  HAKO_CO_TRY(auto what, parse_revocation(call.body));
  HAKO_CO_TRYV(co_await service.tokens.revoke(std::move(what), call.who));
  co_return Response::empty();
}

}  // namespace hako::api
