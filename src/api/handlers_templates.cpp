#include <algorithm>
#include <charconv>

#include "api/checkpoints.h"
#include "api/handlers.h"
#include "api/render.h"
#include "api/snapshots.h"
#include "api/template_builder.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using store::BuildRecord;
using store::BuildState;
using store::TagRecord;

namespace {

constexpr int64_t kLargestSizeMib = 1 << 24;
constexpr int64_t kMostCpus = 1024;
constexpr size_t kMostTags = 64;
constexpr size_t kLongestReference = 512;
constexpr size_t kReasonEntries = 20;
constexpr size_t kMostListed = 100;
constexpr size_t kLogShown = 16 << 10;

std::string time_of(int64_t ms) {
  return to_rfc3339(from_unix_ms(ms));
}

json::array texts(const std::vector<std::string>& list) {
  json::array array;
  for (const auto& text : list) array.emplace_back(text);
  return array;
}

Result<size_t> count_parameter(const Call& call, std::string_view name, size_t fallback,
                               size_t most) {
  auto text = call.head.parameter(name);
  if (!text || text->empty()) return fallback;
  size_t number = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || end != text->data() + text->size())
    return Error(ErrorCode::invalid_argument,
                 "query parameter " + std::string(name) + " must be a whole number");
  return std::min(number, most);
}

/// Where a client reaches this server: as it did for this request.
std::string own_url(const Call& call, const config::Config& config) {
  std::string host(call.head.header("Host"));
  if (host.empty()) host = config.api_address + ":" + std::to_string(config.api_port);
  return (call.encrypted ? "https://" : "http://") + host;
}

struct NewBuild {
  std::string name;
  std::vector<std::string> tags;
  int64_t vcpus = 0, memory_mib = 0;
  policy::Label label = policy::Label::public_data;
};

Result<NewBuild> parse_new_build(std::string_view body, const config::Config& config) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  NewBuild build;
  build.name = reader.text("name", kLongestReference).value_or("");
  // What earlier clients call it.
  if (build.name.empty()) build.name = reader.text("alias", kLongestReference).value_or("");
  build.tags =
      reader.text_list("tags", kMostTags, kLongestReference).value_or(std::vector<std::string>());
  build.vcpus = reader.number("cpuCount", 1, kMostCpus).value_or(0);
  build.memory_mib = reader.number("memoryMB", 1, kLargestSizeMib).value_or(0);
  build.label = read_label(reader).value_or(build.label);
  reader.number("minFreeDiskMb", 0, kLargestSizeMib);
  if (build.name.empty()) reader.fail("name", "is required");
  if (build.vcpus > config.max_vcpus)
    reader.fail("cpuCount", "must be at most " + std::to_string(config.max_vcpus));
  if (build.memory_mib != 0 && (build.memory_mib < 128 || build.memory_mib > config.max_memory_mib))
    reader.fail("memoryMB", "must be from 128 to " + std::to_string(config.max_memory_mib));
  HAKO_TRYV(reader.outcome());
  return build;
}

json::object build_json(const BuildRecord& build) {
  json::object object;
  object["buildID"] = build.id;
  object["status"] = std::string(to_string(build.state));
  object["createdAt"] = time_of(build.created_ms);
  object["updatedAt"] = time_of(std::max(build.created_ms, build.finished_ms));
  if (build.finished_ms > 0) object["finishedAt"] = time_of(build.finished_ms);
  object["cpuCount"] = build.vcpus;
  object["memoryMB"] = build.memory_mib;
  object["diskSizeMB"] = build.disk_mib;
  object["envdVersion"] = std::string(kEnvdVersion);
  return object;
}

/// The members that a template has in lists and alone.
json::object named_json(const store::TemplateRecord& what) {
  json::object object;
  object["templateID"] = what.id;
  object["public"] = what.is_public;
  object["label"] = what.label;
  object["aliases"] = json::array({json::value(what.name)});
  object["names"] = json::array({json::value(what.name)});
  object["createdAt"] = time_of(what.created_ms);
  object["updatedAt"] = time_of(what.updated_ms);
  object["createdBy"] = nullptr;
  object["lastSpawnedAt"] = nullptr;
  object["spawnCount"] = 0;
  return object;
}

json::object listed_template(const TemplateCatalog::Listed& listed) {
  json::object object = named_json(listed.what);
  BuildRecord shown;
  if (!listed.builds.empty()) shown = listed.builds.front();
  // The one that boxes are made of says more than a later one that failed.
  for (const TagRecord& tag : listed.tags)
    for (const BuildRecord& build : listed.builds)
      if (tag.tag == kDefaultTag && build.id == tag.build_id) shown = build;
  object["buildID"] = shown.id;
  object["buildStatus"] = std::string(to_string(shown.state));
  object["buildCount"] = listed.builds.size();
  object["cpuCount"] = shown.vcpus;
  object["memoryMB"] = shown.memory_mib;
  object["diskSizeMB"] = shown.disk_mib;
  object["envdVersion"] = std::string(kEnvdVersion);
  return object;
}

/// The installed image as a template among the others.
json::object installed_template(const NodeTemplateFacts& facts) {
  store::TemplateRecord what;
  what.id = what.name = facts.name;
  what.is_public = true;
  what.created_ms = what.updated_ms = facts.created_ms;
  json::object object = named_json(what);
  object["buildID"] = facts.name;
  object["buildStatus"] = facts.state == "failed" ? "error" : facts.state;
  object["buildCount"] = 1;
  object["cpuCount"] = facts.vcpus;
  object["memoryMB"] = facts.memory_mib;
  object["diskSizeMB"] = facts.disk_mib;
  object["envdVersion"] = std::string(kEnvdVersion);
  return object;
}

Task<Result<json::array>> all_templates(Service& service, Principal who) {
  HAKO_CO_TRY(auto known, co_await service.catalog.node_templates());
  HAKO_CO_TRY(auto listed, co_await service.catalog.list(who));
  json::array all;
  for (const auto& facts : known)
    if (service.catalog.is_default(facts.name)) all.push_back(installed_template(facts));
  for (const auto& each : listed) all.push_back(listed_template(each));
  co_return all;
}

}  // namespace

Task<Result<Response>> list_templates(Service& service, const Call& call) {
  HAKO_CO_TRY(auto all, co_await all_templates(service, call.who));
  co_return Response::json(200, all);
}

Task<Result<Response>> list_templates_v2(Service& service, const Call& call) {
  HAKO_CO_TRY(size_t limit, count_parameter(call, "limit", kMostListed, kMostListed));
  if (limit == 0) co_return Error(ErrorCode::invalid_argument, "limit must be 1 to 100");
  HAKO_CO_TRY(size_t from, count_parameter(call, "nextToken", 0, SIZE_MAX));
  HAKO_CO_TRY(auto all, co_await all_templates(service, call.who));
  Response response = Response::json(200, TemplateLog::slice(all, from, limit));
  if (all.size() - std::min(from, all.size()) > limit)
    response.fields.set("X-Next-Token", std::to_string(from + limit));
  co_return response;
}

Task<Result<Response>> get_template(Service& service, const Call& call) {
  HAKO_CO_TRY(auto listed, co_await service.catalog.list(call.who));
  for (const auto& each : listed) {
    if (each.what.id != call.parameters[0] && each.what.name != call.parameters[0]) continue;
    json::object object = named_json(each.what);
    json::array builds;
    for (const BuildRecord& build : each.builds) builds.push_back(build_json(build));
    object["builds"] = std::move(builds);
    co_return Response::json(200, object);
  }
  co_return Error(ErrorCode::not_found, "template not found");
}

Task<Result<Response>> find_alias(Service& service, const Call& call) {
  auto reference = parse_template_reference(call.parameters[0]);
  if (!reference) co_return Error(ErrorCode::not_found, "there is no such template");
  store::TemplateRecord what;
  what.id = reference.value().name;
  if (!service.catalog.is_default(what.id)) {
    HAKO_CO_TRY(what, co_await service.catalog.find(what.id, call.who));
  }
  json::object body;
  body["templateID"] = what.id;
  body["public"] = what.is_public;
  co_return Response::json(200, body);
}

Task<Result<Response>> create_template(Service& service, const Call& call) {
  HAKO_CO_TRY(auto wanted, parse_new_build(call.body, service.config));
  HAKO_CO_TRY(auto registered,
              co_await service.catalog.register_build(wanted.name, wanted.tags, wanted.vcpus,
                                                      wanted.memory_mib, wanted.label, call.who));
  json::object body;
  body["templateID"] = registered.what.id;
  body["buildID"] = registered.build.id;
  body["public"] = registered.what.is_public;
  body["aliases"] = json::array({json::value(registered.what.name)});
  body["names"] = json::array({json::value(registered.what.name)});
  body["tags"] = texts(registered.build.tags);
  co_return Response::json(202, body);
}

Task<Result<Response>> template_upload(Service& service, const Call& call) {
  HAKO_CO_TRY(auto what, co_await service.catalog.find_own(call.parameters[0], call.who));
  const std::string& hash = call.parameters[1];
  if (!TemplateFiles::is_hash(hash))
    co_return Error(ErrorCode::invalid_argument, "the hash must be 64 lower-case hex digits");
  TemplateFiles::Name name{what.tenant, what.id, hash};
  HAKO_CO_TRY(auto path, service.files.grant(name, call.who));
  json::object body;
  body["present"] = service.files.present(name);
  // Also for what is there already: clients may insist on sending it again.
  body["url"] = own_url(call, service.config) + path;
  co_return Response::json(201, body);
}

Task<Result<Response>> start_build(Service& service, const Call& call) {
  HAKO_CO_TRY(auto recipe, parse_recipe(call.body));
  HAKO_CO_TRYV(co_await service.catalog.find_own(call.parameters[0], call.who));
  HAKO_CO_TRY(auto build,
              co_await service.catalog.find_build(call.parameters[0], call.parameters[1],
                                                  call.who));
  HAKO_CO_TRYV(co_await service.builder.admit(recipe, call.who));
  HAKO_CO_TRYV(service.builder.start(std::move(build), std::move(recipe), call.who));
  Response response = Response::empty(202);
  response.fields.set(http::Field::content_length, "0");
  co_return response;
}

Task<Result<Response>> build_status(Service& service, const Call& call) {
  HAKO_CO_TRY(size_t offset, count_parameter(call, "logsOffset", 0, SIZE_MAX));
  HAKO_CO_TRY(size_t limit, count_parameter(call, "limit", TemplateBuilder::kLogEntriesPerCall,
                                            TemplateBuilder::kLogEntriesPerCall));
  HAKO_CO_TRY(auto status, co_await service.builder.status(call.parameters[0], call.parameters[1],
                                                            call.who));
  json::array entries = TemplateLog::slice(status.entries, offset, limit);
  json::array lines;
  for (const json::value& entry : entries) lines.push_back(entry.at("message"));
  json::object body;
  body["templateID"] = status.build.template_id;
  body["buildID"] = status.build.id;
  body["status"] = std::string(to_string(status.build.state));
  body["logs"] = std::move(lines);
  body["logEntries"] = std::move(entries);
  if (status.build.state == BuildState::error) {
    json::object reason;
    reason["message"] = status.build.reason;
    if (!status.build.step.empty()) reason["step"] = status.build.step;
    reason["logEntries"] = TemplateLog::tail(status.entries, status.build.step, kReasonEntries);
    body["reason"] = std::move(reason);
  }
  co_return Response::json(200, body);
}

Task<Result<Response>> build_logs(Service& service, const Call& call) {
  HAKO_CO_TRY(auto status, co_await service.builder.status(call.parameters[0], call.parameters[1],
                                                            call.who));
  json::object body;
  body["logs"] = std::move(status.entries);
  co_return Response::json(200, body);
}

namespace {

std::vector<std::string> read_tags(FieldReader& reader) {
  auto tags = reader.text_list("tags", kMostTags, kLongestReference);
  if (!tags || tags->empty()) reader.fail("tags", "must name at least one tag");
  return std::move(tags).value_or(std::vector<std::string>());
}

}  // namespace

Task<Result<Response>> assign_tags(Service& service, const Call& call) {
  HAKO_CO_TRY(auto object, parse_body(call.body));
  FieldReader reader(object);
  std::string target = reader.text("target", kLongestReference).value_or("");
  auto tags = read_tags(reader);
  HAKO_CO_TRYV(reader.outcome());
  HAKO_CO_TRY(auto build, co_await service.catalog.assign_tags(target, tags, call.who));
  json::object body;
  body["tags"] = texts(tags);
  body["buildID"] = build;
  co_return Response::json(201, body);
}

Task<Result<Response>> remove_tags(Service& service, const Call& call) {
  HAKO_CO_TRY(auto object, parse_body(call.body));
  FieldReader reader(object);
  std::string name = reader.text("name", kLongestReference).value_or("");
  auto tags = read_tags(reader);
  HAKO_CO_TRYV(reader.outcome());
  HAKO_CO_TRYV(co_await service.catalog.remove_tags(name, tags, call.who));
  co_return Response::empty();
}

Task<Result<Response>> list_tags(Service& service, const Call& call) {
  auto reference = parse_template_reference(call.parameters[0]);
  if (!reference) co_return Error(ErrorCode::not_found, "there is no such template");
  HAKO_CO_TRY(auto tags, co_await service.catalog.tags_of(reference.value().name, call.who));
  json::array list;
  for (const TagRecord& tag : tags) {
    json::object entry;
    entry["tag"] = tag.tag;
    entry["buildID"] = tag.build_id;
    entry["createdAt"] = time_of(tag.created_ms);
    list.push_back(std::move(entry));
  }
  co_return Response::json(200, list);
}

Task<Result<Response>> update_template(Service& service, const Call& call) {
  HAKO_CO_TRY(auto object, parse_body(call.body));
  FieldReader reader(object);
  TemplateCatalog::Change change;
  change.is_public = reader.flag("public");
  change.label = read_label(reader);
  HAKO_CO_TRYV(reader.outcome());
  HAKO_CO_TRY(auto what, co_await service.catalog.change(call.parameters[0], change, call.who));
  json::object body;
  body["names"] = json::array({json::value(what.name)});
  co_return Response::json(200, body);
}

Task<Result<Response>> delete_template(Service& service, const Call& call) {
  // E2B's clients delete snapshots as what they also are.
  const std::string& reference = call.parameters[0];
  bool is_id = is_snapshot_id(std::string_view(reference).substr(0, reference.find(':')));
  if (is_id) {
    HAKO_CO_TRY(bool was_snapshot, co_await service.snapshots.remove(reference, call.who));
    if (was_snapshot) co_return Response::empty();
  }
  auto removed = co_await service.catalog.remove(reference, call.who);
  if (!removed && removed.error().code() == ErrorCode::not_found && !is_id) {
    HAKO_CO_TRY(bool was_snapshot, co_await service.snapshots.remove(reference, call.who));
    if (was_snapshot) co_return Response::empty();
  }
  if (!removed) co_return removed.error();
  service.files.remove_all_of(call.who.tenant, removed.value());
  co_return Response::empty();
}

Task<Result<Response>> list_own_templates(Service& service, const Call& call) {
  HAKO_CO_TRY(auto known, co_await service.catalog.node_templates());
  HAKO_CO_TRY(auto listed, co_await service.catalog.list(call.who));
  json::array all;
  for (const auto& facts : known) {
    json::object entry;
    // How many wait tells what others have just made of it.
    bool shows_pool = call.who.is_operator;
    entry["label"] = store::TemplateRecord().label;
    if (service.catalog.is_default(facts.name)) entry["name"] = facts.name;
    for (const auto& each : listed)
      for (const TagRecord& tag : each.tags)
        if (tag.build_id == facts.name) {
          entry["name"] = each.what.name + (tag.tag == kDefaultTag ? std::string() : ":" + tag.tag);
          entry["label"] = each.what.label;
          shows_pool = shows_pool || each.what.tenant == call.who.tenant;
        }
    if (!entry.contains("name")) continue;
    entry["state"] = facts.state;
    entry["memoryMB"] = facts.memory_mib;
    entry["cpuCount"] = facts.vcpus;
    entry["diskMB"] = facts.disk_mib;
    if (shows_pool) entry["pooled"] = facts.pooled;
    entry["createdAt"] = time_of(facts.created_ms);
    if (!facts.error.empty()) entry["error"] = facts.error;
    all.push_back(std::move(entry));
  }
  json::object body;
  body["templates"] = std::move(all);
  co_return Response::json(200, body);
}

Task<Result<Response>> build_template(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_template(call.body, service.config.default_template));
  HAKO_CO_TRY(auto registered,
              co_await service.catalog.register_build(request.name, {}, request.vcpus.value_or(0),
                                                      request.memory_mib.value_or(0), request.label,
                                                      call.who));
  Recipe recipe;
  recipe.from_template = request.from;
  for (const TemplateStep& step : request.steps) {
    RecipeStep run;
    run.args = {step.command, step.user.value_or("root")};
    recipe.steps.push_back(std::move(run));
  }
  std::string template_id = registered.what.id, build_id = registered.build.id;
  auto done = co_await service.builder.run(std::move(registered.build), std::move(recipe), call.who);
  HAKO_CO_TRY(auto status, co_await service.builder.status(template_id, build_id, call.who));
  std::string log;
  for (const json::value& entry : status.entries)
    log += std::string(entry.at("message").as_string()) + "\n";
  if (!done)
    co_return Error(
        done.error().code(),
        done.error().message() + "\n" + log.substr(log.size() - std::min(log.size(), kLogShown)));
  json::object body;
  body["name"] = request.name;
  body["log"] = log;
  co_return Response::json(201, body);
}

}  // namespace hako::api
