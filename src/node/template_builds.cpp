#include "node/template_builds.h"

#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "node/host_room.h"

namespace hako::node {
namespace {

Error no_such_build(const std::string& build) {
  return Error(ErrorCode::not_found, "build " + build + " does not exist");
}

}  // namespace

Result<std::shared_ptr<TemplateBuilds::Build>> TemplateBuilds::find(
    const std::string& build) const {
  auto found = builds_.find(build);
  if (found == builds_.end()) return no_such_build(build);
  return found->second;
}

Task<Result<TemplateBuilds::Begun>> TemplateBuilds::begin(Begin request) {
  const Template* from = templates_.find(request.from);
  if (!from)
    co_return Error(ErrorCode::not_found, "template '" + request.from + "' does not exist");
  if (builds_.contains(request.build))
    co_return Error(ErrorCode::already_exists, "build " + request.build + " exists");
  HAKO_CO_TRYV(check_host_room(context_.config));
  if (builds_.size() >= kMostBuilds)
    co_return Error(ErrorCode::resource_exhausted, "other templates are being built; try again");
  auto build = std::make_shared<Build>();
  build->id = request.build;
  build->tenant = request.tenant;
  build->what = *from;
  build->token = request.access_token;
  if (request.memory_mib) build->what.size.memory_mib = *request.memory_mib;
  if (request.vcpus) build->what.size.vcpus = *request.vcpus;
  builds_[request.build] = build;
  if (!build->what.root.empty()) context_.roots_in_use.insert(build->what.root);

  Begun begun;
  begun.size = build->what.size;
  auto turn = co_await build->turns.take();
  std::string disk;
  if (auto layer = layers_.find(request.layers)) {
    disk = layer->disk;
    begun.cached_steps = layer->steps;
  }
  auto booted = co_await boot(*build, std::move(disk));
  if (!booted) {
    co_await end(build);
    co_return booted.error();
  }
  co_return begun;
}

/// `disk`: to boot from; empty: the template's own.
Task<Result<void>> TemplateBuilds::boot(Build& build, std::string disk) {
  Template what = build.what;
  if (!disk.empty()) what.disk = disk;
  HAKO_CO_TRY(auto plan, co_await templates_.boot_for_build(what));
  plan.tenant = build.tenant;
  auto booted = co_await boot_guest(context_, plan);
  if (what.disk.empty()) ::unlink(plan.disk.c_str());
  if (!booted) co_return booted.error();
  build.vm = std::move(booted).value();
  HAKO_CO_TRYV(
      build.vm->update_record([&](VmRecord& record) { record.access_token = build.token; }));
  boost::json::object no_environment;
  HAKO_CO_TRYV(co_await build.vm->identify(build.id, std::move(no_environment)));
  boost::json::object open_to_who_has_the_token, nothing_outside;
  co_return co_await context_.gate.publish(build.vm->record().machine, build.id, build.token,
                                           open_to_who_has_the_token, nothing_outside);
}

Task<void> TemplateBuilds::end(std::shared_ptr<Build> build) {
  builds_.erase(build->id);
  auto vm = std::move(build->vm);
  if (vm) co_await vm->destroy();
  bool shared = false;
  for (const auto& [id, other] : builds_)
    if (other->what.root == build->what.root) shared = true;
  if (shared) co_return;
  context_.roots_in_use.erase(build->what.root);
  // A build that failed may have made a root that is nobody's now.
  templates_.remove_unused_roots();
}

Task<Result<void>> TemplateBuilds::keep_layer(std::string id, std::string key) {
  HAKO_CO_TRY(auto build, find(id));
  auto turn = co_await build->turns.take();
  if (!build->vm) co_return no_such_build(id);
  co_return co_await layers_.keep(*build->vm, std::move(key));
}

Task<Result<void>> TemplateBuilds::use_as_root(std::string id) {
  HAKO_CO_TRY(auto build, find(id));
  auto turn = co_await build->turns.take();
  if (!build->vm) co_return no_such_build(id);
  std::string root = random_hex(16) + ".raw";
  std::string path = context_.root_dir() + "/" + root;
  context_.roots_in_use.insert(root);
  HAKO_CO_TRYV(co_await sync_guest(context_, *build->vm));
  auto copied = co_await build->vm->copy_scratch(path);
  if (!copied) {
    context_.roots_in_use.erase(root);
    ::unlink(path.c_str());
    co_return copied.error();
  }
  co_await build->vm->destroy();
  build->vm.reset();
  build->what.root = root;
  build->what.disk.clear();
  co_return co_await boot(*build, "");
}

Task<Result<void>> TemplateBuilds::settle(std::string id) {
  HAKO_CO_TRY(auto build, find(id));
  auto turn = co_await build->turns.take();
  if (!build->vm) co_return no_such_build(id);
  co_return co_await settle_guest(context_, *build->vm);
}

Task<Result<Template>> TemplateBuilds::finish(std::string id, std::string name, Startup startup) {
  HAKO_CO_TRY(auto build, find(id));
  auto turn = co_await build->turns.take();
  if (!build->vm) co_return no_such_build(id);
  std::string kept = context_.snapshot_dir() + "/.disk-" + random_hex(6);
  auto captured = co_await capture_guest(context_, std::move(build->vm), kept);
  Result<Template> done = Error(ErrorCode::internal, "not kept");
  if (captured) {
    build->what.name = name;
    build->what.startup = std::move(startup);
    Template what = build->what;
    done = co_await templates_.add(std::move(what), std::move(captured).value(), kept);
  } else {
    ::unlink(kept.c_str());
    done = captured.error();
  }
  co_await end(build);
  co_return done;
}

Task<void> TemplateBuilds::abort(std::string id) {
  auto build = find(id);
  if (!build) co_return;
  auto turn = co_await build.value()->turns.take();
  if (builds_.contains(id)) co_await end(build.value());
}

Task<void> TemplateBuilds::stop() {
  std::vector<std::string> ids;
  for (const auto& [id, build] : builds_) ids.push_back(id);
  for (auto& id : ids) co_await abort(id);
}

}  // namespace hako::node
