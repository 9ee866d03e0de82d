// What leaves sandboxes: labels, links, the log of decisions, and the explanation of rules.
#include <algorithm>

#include "api/egress_control.h"
#include "api/egress_log.h"
#include "api/handlers.h"
#include "api/policy_check.h"
#include "api/query.h"
#include "api/render.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

namespace {

constexpr int64_t kMostEgressRecords = int64_t(EgressLog::kMostRecords);
constexpr int64_t kLongestWaitMs = 30'000;

json::object link_json(const store::LinkRecord& link) {
  json::object object;
  object["linkID"] = link.id;
  object["from"] = link.from;
  object["to"] = link.to;
  object["port"] = link.port;
  object["name"] = link.name;
  object["createdAt"] = to_rfc3339(from_unix_ms(link.created_ms));
  return object;
}

}  // namespace

Task<Result<Response>> raise_label(Service& service, const Call& call) {
  HAKO_CO_TRY(auto object, parse_body(call.body));
  FieldReader reader(object);
  auto label = read_label(reader);
  bool at_least = reader.flag("atLeast").value_or(false);
  if (!label) reader.fail("label", "is required");
  HAKO_CO_TRYV(reader.outcome());
  HAKO_CO_TRY(auto raised, co_await service.egress.raise_label(call.parameters[0], call.who,
                                                               *label, at_least));
  HAKO_CO_TRY(auto record, co_await service.egress.give_access(std::move(raised), call.who));
  json::object answer;
  answer["sandboxID"] = record.id;
  answer["label"] = record.label;
  answer["egress"] = shown_egress(read_policy(record.egress));
  ShownTokens tokens = shown_tokens(call.who, record);
  if (!tokens.ports.empty()) answer["trafficAccessToken"] = tokens.ports;
  co_return Response::json(200, answer);
}

Task<Result<Response>> egress_log(Service& service, const Call& call) {
  HAKO_CO_TRY(auto after, query_number(call.head, "after", INT64_MAX));
  HAKO_CO_TRY(auto limit, query_number(call.head, "limit", kMostEgressRecords));
  HAKO_CO_TRY(auto wait_ms, query_number(call.head, "wait_ms", kLongestWaitMs));
  const std::string& id = call.parameters[0];
  HAKO_CO_TRYV(co_await service.sandboxes.find(id, call.who));
  auto records = co_await service.egress_log.wait_behind(
      id, after.value_or(0), size_t(limit.value_or(kMostEgressRecords)),
      std::chrono::milliseconds(wait_ms.value_or(0)));
  // It may have ended while it was waited for, or its label may have risen.
  if (wait_ms.value_or(0) > 0) {
    HAKO_CO_TRYV(co_await service.sandboxes.find(id, call.who));
  }
  json::array list;
  for (const EgressRecord& record : records) list.push_back(record_json(record));
  json::object answer;
  answer["records"] = std::move(list);
  answer["next"] = records.empty() ? after.value_or(0) : records.back().sequence;
  co_return Response::json(200, answer);
}

Task<Result<Response>> check_policy(Service& service, const Call& call) {
  HAKO_CO_TRY(auto question, parse_question(call.body));
  std::optional<store::SandboxRecord> record;
  if (!question.box.empty()) {
    HAKO_CO_TRY(record, co_await service.sandboxes.find(question.box, call.who));
  }
  auto of_tenant = ceilings_of(call.who.permission, CeilingsOf::tenant);
  question.options.made_under = ceilings_of(call.who.permission, CeilingsOf::caller);
  HAKO_CO_TRY(auto decision,
              answer_question(service.config.egress, question, record, of_tenant));
  co_return Response::json(200, decision_json(decision));
}

Task<Result<Response>> add_link(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_link(call.body));
  HAKO_CO_TRY(auto link, co_await service.egress.add_link(std::move(request), call.who));
  co_return Response::json(201, link_json(link));
}

Task<Result<Response>> list_links(Service& service, const Call& call) {
  HAKO_CO_TRY(auto links, co_await service.egress.list_links(call.who));
  co_return listed("links", links, link_json);
}

Task<Result<Response>> remove_link(Service& service, const Call& call) {
  HAKO_CO_TRYV(co_await service.egress.remove_link(call.parameters[0], call.who));
  co_return Response::empty();
}

}  // namespace hako::api
