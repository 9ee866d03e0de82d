// "May I, and if not, which layer says so?"
#include "api/egress_policy.h"
#include "api/handlers.h"
#include "api/now.h"
#include "api/scope.h"
#include "policy/explain.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

namespace {

constexpr size_t kLongestActionWord = 64;
constexpr size_t kLongestBoxId = 64;

struct Question {
  policy::Action action = policy::Action::sandbox_read;
  std::string box;  ///< empty: of no certain one
};

Result<Question> parse_explain(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  auto word = reader.text("action", kLongestActionWord);
  auto action = policy::action_from(word.value_or(""));
  Question question;
  question.box = reader.text("box", kLongestBoxId).value_or("");
  if (!word) {
    reader.fail("action", "is required");
  } else if (!action) {
    reader.fail("action", "must be one of " + policy::to_string(policy::ActionSet::all()));
  }
  HAKO_TRYV(reader.outcome());
  question.action = *action;
  return question;
}

json::array layers_json(const policy::Permission& permission, int64_t now_ms) {
  json::array layers;
  for (const policy::LayerExplanation& each : policy::explanation(permission, now_ms)) {
    json::object layer;
    layer["layer"] = each.layer;
    layer["leaves"] = each.text;
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace

Task<Result<Response>> explain_policy(Service& service, const Call& call) {
  HAKO_CO_TRY(auto question, parse_explain(call.body));
  int64_t at = unix_now_ms();
  policy::Decision decision;
  if (question.box.empty()) {
    decision = policy::may(call.who.permission, question.action, at);
  } else {
    HAKO_CO_TRY(auto record, co_await service.sandboxes.find(question.box, call.who));
    decision = policy::may_act(call.who.permission, question.action, facts_of(record), at);
  }
  json::object answer = decision_json(decision);
  answer["layers"] = layers_json(call.who.permission, at);
  co_return Response::json(200, answer);
}

}  // namespace hako::api
