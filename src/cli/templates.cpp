#include "base/encoding.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr std::chrono::minutes kLongestBuild{60};

Task<int> list_command(const GlobalOptions& global) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto answer = co_await api.call(http::Verb::get, "/v1/templates");
  if (!answer) co_return fail(answer.error());
  const json::value* list = nullptr;
  if (const auto* object = answer.value().if_object()) list = object->if_contains("templates");
  if (!list || !list->is_array())
    co_return fail(Error(ErrorCode::corrupted, "the API's answer is no list of templates"));
  if (global.json) {
    print_json(*list);
    co_return 0;
  }
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"NAME", "STATE", "MEMORY", "CPUS", "DISK", "READY BOXES"});
  for (const auto& item : list->get_array()) {
    rows.push_back({printable_field(text_member(item, "name")),
                    printable_field(text_member(item, "state")),
                    std::to_string(number_member(item, "memoryMB")) + " MiB",
                    std::to_string(number_member(item, "cpuCount")),
                    std::to_string(number_member(item, "diskMB")) + " MiB",
                    std::to_string(number_member(item, "pooled"))});
  }
  print(format_table(rows));
  for (const auto& item : list->get_array())
    if (std::string why = text_member(item, "error"); !why.empty())
      print_note("template " + printable_field(text_member(item, "name")) +
                 " could not be built: " + printable(why));
  co_return 0;
}

Task<int> build_command(const GlobalOptions& global, const TemplateBuildOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::array steps;
  for (const auto& command : options.steps) {
    json::object step;
    step["cmd"] = command;
    steps.emplace_back(std::move(step));
  }
  json::object wanted;
  wanted["name"] = options.name;
  if (!options.from.empty()) wanted["from"] = options.from;
  if (options.memory_mib) wanted["memoryMB"] = *options.memory_mib;
  if (options.vcpus) wanted["cpuCount"] = *options.vcpus;
  if (!options.label.empty()) wanted["label"] = options.label;
  wanted["steps"] = std::move(steps);
  json::value body = std::move(wanted);
  auto built = co_await api.call(http::Verb::post, "/v1/templates", std::move(body), kLongestBuild);
  if (!built) co_return fail(built.error().with_context("build template " + options.name));
  if (global.json) {
    print_json(built.value());
  } else {
    print_note(printable(text_member(built.value(), "log")));
    print(options.name + "\n");
  }
  co_return 0;
}

Task<int> remove_command(const GlobalOptions& global, const std::vector<std::string>& names) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const auto& name : names) {
    auto gone = co_await api.call(http::Verb::delete_, "/templates/" + percent_encode(name),
                                  std::nullopt, kBoxTime);
    if (gone) {
      print(name + "\n");
    } else if (gone.error().code() == ErrorCode::not_found) {
      status = fail(Error(ErrorCode::not_found, "there is no template '" + printable_field(name) +
                                                    "': `hako template ls` lists them"));
    } else {
      status = fail(gone.error());
    }
  }
  co_return status;
}

}  // namespace

int list_templates(const GlobalOptions& global) {
  return run_to_end([&] { return list_command(global); });
}

int build_template(const GlobalOptions& global, const TemplateBuildOptions& options) {
  return run_to_end([&] { return build_command(global, options); });
}

int remove_templates(const GlobalOptions& global, const std::vector<std::string>& names) {
  return run_to_end([&] { return remove_command(global, names); });
}

}  // namespace hako::cli
