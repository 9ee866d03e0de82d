// Secrets, and what sandboxes use of them. No answer holds a value.
#include <algorithm>

#include "api/box_secrets.h"
#include "api/egress_control.h"
#include "api/handlers.h"
#include "api/list_query.h"
#include "api/secrets.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using store::SecretRecord;

namespace {

using Secrets = std::vector<SecretRecord>;

/// A page's end: the id of its last one.
constexpr size_t kLongestPageEnd = 64;

Result<Response> e2b_page(const Secrets& all, const http::RequestHead& head) {
  HAKO_TRY(int limit, read_page_limit(head));
  std::string behind = head.parameter("nextToken").value_or("");
  if (behind.size() > kLongestPageEnd) {
    return Error(ErrorCode::invalid_argument, "nextToken is not one of ours");
  }
  auto at = all.begin();
  if (!behind.empty()) {
    at = std::find_if(all.begin(), all.end(),
                      [&](const SecretRecord& each) { return each.id == behind; });
    if (at == all.end()) return Error(ErrorCode::invalid_argument, "nextToken is of the past");
    ++at;
  }
  json::array page;
  for (; at != all.end() && page.size() < size_t(limit); ++at) page.push_back(e2b_secret_json(*at));
  Response response = Response::json(200, page);
  if (at != all.end()) response.fields.set("X-Next-Token", std::prev(at)->id);
  return response;
}

json::object attached_json(const BoxSecrets::Attached& one) {
  json::object shown;
  shown["secretID"] = one.secret.id;
  shown["name"] = one.secret.name;
  shown["hosts"] = secret_json(one.secret)["hosts"];
  shown["env"] = one.secret.env;
  shown["label"] = one.secret.label;
  shown["placeholder"] = one.placeholder;
  shown["usable"] = one.usable.allowed;
  if (!one.usable.allowed) shown["reason"] = one.usable.explanation();
  return shown;
}

Task<Result<Response>> answer_attached(Service& service, store::SandboxRecord record) {
  HAKO_CO_TRY(auto all, co_await service.box_secrets.attached(std::move(record)));
  co_return listed("secrets", all, attached_json);
}

Result<std::vector<std::string>> parse_names(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"secrets"});
  auto names = reader.text_list("secrets", kMostSecretsOfBox, kLongestSecretName);
  if (!names) reader.fail("secrets", "is required");
  HAKO_TRYV(reader.outcome());
  return *names;
}

/// The secret that the path names, changed as `request` says.
Task<Result<Response>> change_secret(Service& service, const Call& call,
                                     Result<SecretRequest> request,
                                     json::object (*shown)(const SecretRecord&)) {
  if (!request) co_return request.error();
  auto changing =
      service.secrets.change(call.parameters[0], std::move(request).value(), call.who);
  HAKO_CO_TRY(auto secret, co_await std::move(changing));
  co_return Response::json(200, shown(secret));
}

}  // namespace

Task<Result<Response>> list_secrets(Service& service, const Call& call) {
  HAKO_CO_TRY(auto all, co_await service.secrets.list(call.who));
  co_return listed("secrets", all, secret_json);
}

Task<Result<Response>> get_secret(Service& service, const Call& call) {
  HAKO_CO_TRY(auto secret, co_await service.secrets.find(call.parameters[0], call.who));
  co_return Response::json(200, secret_json(secret));
}

Task<Result<Response>> create_secret(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_new_secret(call.body));
  HAKO_CO_TRY(auto secret, co_await service.secrets.create(std::move(request), call.who));
  co_return Response::json(201, secret_json(secret));
}

Task<Result<Response>> update_secret(Service& service, const Call& call) {
  return change_secret(service, call, parse_secret_change(call.body), secret_json);
}

Task<Result<Response>> rotate_secret(Service& service, const Call& call) {
  return change_secret(service, call, parse_secret_rotation(call.body), secret_json);
}

Task<Result<Response>> delete_secret(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.secrets.remove(call.parameters[0], call.who));
  co_return Response::empty();
}

Task<Result<Response>> list_e2b_secrets(Service& service, const Call& call) {
  HAKO_CO_TRY(auto all, co_await service.secrets.list(call.who));
  co_return e2b_page(all, call.head);
}

Task<Result<Response>> get_e2b_secret(Service& service, const Call& call) {
  HAKO_CO_TRY(auto secret, co_await service.secrets.find(call.parameters[0], call.who));
  co_return Response::json(200, e2b_secret_json(secret));
}

Task<Result<Response>> create_e2b_secret(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_e2b_secret(call.body));
  HAKO_CO_TRY(auto secret, co_await service.secrets.create(std::move(request), call.who));
  co_return Response::json(201, e2b_secret_json(secret));
}

Task<Result<Response>> update_e2b_secret(Service& service, const Call& call) {
  return change_secret(service, call, parse_e2b_secret_update(call.body), e2b_secret_json);
}

Task<Result<Response>> list_box_secrets(Service& service, const Call& call) {
  HAKO_CO_TRY(auto record, co_await service.sandboxes.find(call.parameters[0], call.who));
  co_return co_await answer_attached(service, std::move(record));
}

Task<Result<Response>> set_box_secrets(Service& service, const Call& call) {
  HAKO_CO_TRY(auto names, parse_names(call.body));
  HAKO_CO_TRY(auto record, co_await service.egress.set_secrets(call.parameters[0], call.who,
                                                               std::move(names)));
  co_return co_await answer_attached(service, std::move(record));
}

}  // namespace hako::api
