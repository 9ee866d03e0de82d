// What a key or token may do, layer by layer.
#include <boost/json.hpp>

#include "cli/api.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

std::string as_text(const json::value& answer) {
  const json::object* object = answer.if_object();
  const json::value* allowed = object ? object->if_contains("allowed") : nullptr;
  bool yes = allowed && allowed->is_bool() && allowed->get_bool();
  std::string text = yes ? "allowed" : "denied";
  text += ": " + printable_field(text_member(answer, "reason"));
  text += " (rule " + printable_field(text_member(answer, "rule")) + ")\n";
  std::string remedy = printable_field(text_member(answer, "remedy"));
  if (!remedy.empty()) text += "to change that: " + remedy + "\n";
  const json::value* layers = object ? object->if_contains("layers") : nullptr;
  if (!layers || !layers->is_array()) return text;
  for (const json::value& layer : layers->get_array()) {
    text += "  " + printable_field(text_member(layer, "layer")) + ": " +
            printable_field(text_member(layer, "leaves")) + "\n";
  }
  return text;
}

Task<int> explain_command(const GlobalOptions& global, const PolicyExplainOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  if (!options.token.empty()) access.value().key = options.token;
  Api api(access.value());
  json::object question;
  question["action"] = options.action;
  if (!options.box.empty()) question["box"] = options.box;
  json::value body = std::move(question);
  auto answer = co_await api.call(http::Verb::post, "/v1/policy/explain", std::move(body));
  if (!answer) co_return fail(answer.error());
  if (global.json) {
    print_json(answer.value());
  } else {
    print(as_text(answer.value()));
  }
  const json::object* object = answer.value().if_object();
  const json::value* allowed = object ? object->if_contains("allowed") : nullptr;
  co_return allowed && *allowed == json::value(true) ? 0 : 1;
}

}  // namespace

int explain_policy(const GlobalOptions& global, const PolicyExplainOptions& options) {
  return run_to_end([&] { return explain_command(global, options); });
}

}  // namespace hako::cli
