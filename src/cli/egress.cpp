// Labels, what leaves boxes, and links between them.
#include <boost/json/serialize.hpp>

#include "base/encoding.h"
#include "cli/box.h"
#include "cli/commands.h"
#include "cli/egress_text.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

/// Below what one request may take.
constexpr int kWaitMs = 20'000;

Error no_box(const std::string& id) {
  return Error(ErrorCode::not_found,
               "there is no box '" + printable_field(id) + "': `hako ps` lists what runs");
}

Result<void> check_id(const std::string& id) {
  if (is_box_id(id)) return ok();
  return Error(ErrorCode::invalid_argument,
               "'" + printable_field(id) + "' is no id of a box: `hako ps` lists them");
}

/// A member that is a list; empty if there is none.
json::array list_member(const json::value& object, std::string_view name) {
  const auto* fields = object.if_object();
  const json::value* list = fields ? fields->if_contains(name) : nullptr;
  return list && list->is_array() ? list->get_array() : json::array();
}

Task<Result<json::value>> raise(Api& api, std::string id, json::object wanted) {
  json::value body = std::move(wanted);
  auto answer = co_await api.call(http::Verb::post, "/v1/sandboxes/" + id + "/label",
                                  std::move(body));
  if (!answer && answer.error().code() == ErrorCode::not_found) co_return no_box(id);
  co_return answer;
}

Task<int> label_command(const GlobalOptions& global, const LabelOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  if (auto valid = check_id(options.id); !valid) co_return fail(valid.error());
  Api api(access.value());
  json::object wanted;
  wanted["label"] = options.label;
  auto raised = co_await raise(api, options.id, std::move(wanted));
  if (!raised) co_return fail(raised.error());
  if (global.json) {
    print_json(raised.value());
  } else {
    print(printable_field(text_member(raised.value(), "label")) + "\n");
  }
  co_return 0;
}

Task<int> check_command(const GlobalOptions& global, const PolicyCheckOptions& options) {
  auto destination = destination_json(options.destination);
  if (!destination) co_return fail(destination.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object question;
  if (!options.box.empty()) question["box"] = options.box;
  put_confinement(question, options.confinement);
  question["destination"] = std::move(destination.value());
  json::value body = std::move(question);
  auto answer = co_await api.call(http::Verb::post, "/v1/policy/check", std::move(body));
  if (!answer && answer.error().code() == ErrorCode::not_found) co_return fail(no_box(options.box));
  if (!answer) co_return fail(answer.error());
  const auto* fields = answer.value().if_object();
  const json::value* allowed = fields ? fields->if_contains("allowed") : nullptr;
  if (!allowed || !allowed->is_bool())
    co_return fail(Error(ErrorCode::corrupted, "the API's answer is no decision"));
  if (global.json) {
    print_json(answer.value());
  } else {
    print(decision_text(answer.value(), allowed->get_bool()));
  }
  co_return allowed->get_bool() ? 0 : 1;
}

Task<int> log_command(const GlobalOptions& global, const EgressLogOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  if (auto valid = check_id(options.id); !valid) co_return fail(valid.error());
  Api api(access.value());
  int64_t next = 0;
  for (bool first = true;; first = false) {
    std::string target = "/v1/sandboxes/" + options.id + "/egress?after=" + std::to_string(next);
    if (!first) target += "&wait_ms=" + std::to_string(kWaitMs);
    auto answer = co_await api.call(http::Verb::get, target);
    bool gone = !answer && answer.error().code() == ErrorCode::not_found;
    if (gone && !first) co_return 0;
    if (gone) co_return fail(no_box(options.id));
    if (!answer) co_return fail(answer.error());
    for (const json::value& record : list_member(answer.value(), "records"))
      print((global.json ? json::serialize(record) : record_line(record)) + "\n");
    int64_t last = number_member(answer.value(), "next");
    if (last < next) co_return fail(Error(ErrorCode::corrupted, "the API's answer is no log"));
    next = last;
    if (!options.follow) co_return 0;
  }
}

Task<int> link_add_command(const GlobalOptions& global, const LinkAddOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted;
  wanted["from"] = options.from;
  wanted["to"] = options.to;
  wanted["port"] = options.port;
  if (!options.name.empty()) wanted["name"] = options.name;
  json::value body = std::move(wanted);
  auto made = co_await api.call(http::Verb::post, "/v1/links", std::move(body));
  if (!made) co_return fail(made.error());
  if (global.json) {
    print_json(made.value());
    co_return 0;
  }
  print(printable_field(text_member(made.value(), "linkID")) + "\n");
  print_note(printable_field(options.from) + " reaches it at " +
             printable_field(text_member(made.value(), "name")) + ":" +
             std::to_string(number_member(made.value(), "port")));
  co_return 0;
}

Task<int> link_list_command(const GlobalOptions& global) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto answer = co_await api.call(http::Verb::get, "/v1/links");
  if (!answer) co_return fail(answer.error());
  json::array links = list_member(answer.value(), "links");
  if (global.json) {
    json::value all = std::move(links);
    print_json(all);
    co_return 0;
  }
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"ID", "FROM", "TO", "PORT", "NAME"});
  for (const json::value& link : links)
    rows.push_back({printable_field(text_member(link, "linkID")),
                    printable_field(text_member(link, "from")),
                    printable_field(text_member(link, "to")),
                    std::to_string(number_member(link, "port")),
                    printable_field(text_member(link, "name"))});
  print(format_table(rows));
  co_return 0;
}

Task<int> link_remove_command(const GlobalOptions& global, const std::vector<std::string>& ids) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const std::string& id : ids) {
    auto gone = co_await api.call(http::Verb::delete_, "/v1/links/" + percent_encode(id));
    if (gone) {
      print(id + "\n");
    } else if (gone.error().code() == ErrorCode::not_found) {
      status = fail(Error(ErrorCode::not_found, "there is no link '" + printable_field(id) +
                                                    "': `hako link ls` lists them"));
    } else {
      status = fail(gone.error());
    }
  }
  co_return status;
}

}  // namespace

Task<Result<void>> raise_to_at_least(Api& api, std::string id, std::string label) {
  json::object wanted;
  wanted["label"] = label;
  wanted["atLeast"] = true;
  HAKO_CO_TRYV(co_await raise(api, std::move(id), std::move(wanted)));
  co_return ok();
}

int raise_label(const GlobalOptions& global, const LabelOptions& options) {
  return run_to_end([&] { return label_command(global, options); });
}

int check_policy(const GlobalOptions& global, const PolicyCheckOptions& options) {
  return run_to_end([&] { return check_command(global, options); });
}

int show_egress_log(const GlobalOptions& global, const EgressLogOptions& options) {
  return run_to_end([&] { return log_command(global, options); });
}

int add_link(const GlobalOptions& global, const LinkAddOptions& options) {
  return run_to_end([&] { return link_add_command(global, options); });
}

int list_links(const GlobalOptions& global) {
  return run_to_end([&] { return link_list_command(global); });
}

int remove_links(const GlobalOptions& global, const std::vector<std::string>& ids) {
  return run_to_end([&] { return link_remove_command(global, ids); });
}

}  // namespace hako::cli
