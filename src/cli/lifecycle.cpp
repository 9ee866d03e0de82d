#include "cli/lifecycle.h"

#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "base/encoding.h"
#include "cli/egress_text.h"
#include "cli/model_commands.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr size_t kMostPages = 1000;
constexpr size_t kAtOnce = 8;

Task<void> destroy_some(ApiAccess access, std::vector<std::string>& waiting,
                        std::vector<std::string>& done, std::optional<Error>& failure,
                        size_t& working, Condition& progress) {
  Api api(std::move(access));
  while (!waiting.empty()) {
    std::string id = std::move(waiting.back());
    waiting.pop_back();
    auto gone = co_await destroy(api, id);
    if (gone) {
      done.push_back(std::move(id));
    } else if (!failure) {
      failure = gone.error().with_context("destroy " + id);
    }
  }
  --working;
  progress.notify_all();
}

}  // namespace

Task<Result<json::value>> create(Api& api, BoxOptions options, std::string fallback_template) {
  json::object request;
  request["templateID"] = options.template_name.empty() ? fallback_template : options.template_name;
  request["timeout"] = options.ttl.value_or(kLease).count();
  if (options.memory_mib) request["memoryMB"] = *options.memory_mib;
  if (options.vcpus) request["cpuCount"] = *options.vcpus;
  if (!options.env.empty()) {
    json::object variables;
    for (const auto& [name, value] : options.env) variables[name] = value;
    request["envVars"] = std::move(variables);
  }
  if (options.pause_at_end) request["autoPause"] = true;
  if (options.auto_resume) {
    json::object auto_resume;
    auto_resume["enabled"] = true;
    request["autoResume"] = std::move(auto_resume);
  }
  if (!options.secrets.empty()) {
    request["secrets"] = json::array(options.secrets.begin(), options.secrets.end());
  }
  put_confinement(request, options.confinement);
  put_model_limits(request, options.models);
  json::value body = std::move(request);
  co_return co_await api.call(http::Verb::post, "/v2/sandboxes", std::move(body), kBoxTime);
}

Task<Result<void>> destroy(Api& api, std::string id) {
  auto gone = co_await api.call(http::Verb::delete_, "/sandboxes/" + id, std::nullopt, kBoxTime);
  if (!gone && gone.error().code() != ErrorCode::not_found) co_return gone.error();
  co_return ok();
}

Task<Result<json::array>> list_all(Api& api) {
  json::array boxes;
  std::string token;
  for (size_t page = 0; page < kMostPages; ++page) {
    std::string target = "/v2/sandboxes?limit=100";
    if (!token.empty()) target += "&nextToken=" + percent_encode(token);
    HAKO_CO_TRY(auto response,
                co_await api.request(http::Verb::get, target, std::nullopt, kRequestTime));
    boost::system::error_code failed;
    json::value answer = json::parse(response.body, failed);
    if (failed || !answer.is_array())
      co_return Error(ErrorCode::corrupted, "the API's answer is no list of boxes");
    for (auto& box : answer.get_array()) boxes.push_back(std::move(box));
    auto next = response.fields.find("X-Next-Token");
    if (next == response.fields.end() || next->value().empty()) break;
    token = std::string(next->value());
  }
  co_return boxes;
}

Task<Result<void>> destroy_all(ApiAccess access, std::vector<std::string> ids,
                               std::vector<std::string>& done) {
  std::optional<Error> failure;
  Condition progress;
  size_t working = std::min(kAtOnce, ids.size());
  TaskGroup workers(co_await asio::this_coro::executor);
  for (size_t i = working; i > 0; --i)
    workers.spawn("destroy boxes", destroy_some(access, ids, done, failure, working, progress));
  while (working > 0) co_await progress.wait();
  co_await workers.stop();
  if (failure) co_return *failure;
  co_return ok();
}

Task<Result<std::optional<int>>> work_in_own_box(ApiAccess access, BoxOptions options,
                                                 std::string fallback_template, BoxWork work) {
  using namespace asio::experimental::awaitable_operators;
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor);
  Interrupts interrupts(executor);
  interrupts.start(tasks);
  Api api(access);
  auto creating = create(api, std::move(options), std::move(fallback_template));
  auto finding = find_data_endpoint(std::move(access));
  auto [answer, data] = co_await (std::move(creating) && std::move(finding));
  auto box = answer ? box_from_answer(answer.value(), std::move(data))
                    : Result<BoxAccess>(answer.error());
  Result<std::optional<int>> outcome = std::optional<int>();
  if (!box) outcome = box.error();
  if (box) {
    auto working = work(api, box.value());
    auto stopped = interrupts.wait();
    auto first = co_await (std::move(working) || std::move(stopped));
    if (first.index() == 1) {
      outcome = std::optional<int>(std::get<1>(first));
    } else if (auto& done = std::get<0>(first); !done) {
      outcome = done.error();
    }
    auto gone = co_await destroy(api, box.value().id);
    if (!gone) {
      print_note("box " + box.value().id + " could not be destroyed: " + gone.error().message());
    }
  }
  co_await tasks.stop();
  co_return outcome;
}

Task<void> renew_lease(ApiAccess access, std::string id) {
  Api api(std::move(access));
  while (true) {
    co_await sleep_for(kLease / 3);
    json::value body = json::object{{"timeout", kLease.count()}};
    auto renewed =
        co_await api.call(http::Verb::post, "/sandboxes/" + id + "/timeout", std::move(body));
    if (!renewed && renewed.error().code() == ErrorCode::not_found) co_return;
  }
}

}  // namespace hako::cli
