// Whose build is run when, and for how long: one part of TemplateBuilder.
#include "api/admission.h"
#include "api/egress_policy.h"
#include "api/now.h"
#include "api/standing.h"
#include "api/template_builder.h"
#include "api/user_error.h"
#include "base/async/run_until.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/log.h"
#include "base/random.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;
using store::BuildRecord;
using store::BuildState;

namespace {

constexpr auto kAbortTime = 30s;
constexpr size_t kMachineName = 20;

}  // namespace

Result<void> TemplateBuilder::start(BuildRecord build, Recipe recipe, Principal who) {
  if (build.state != BuildState::waiting || live_.contains(build.id))
    return Error(ErrorCode::failed_precondition, "this build has been started already");
  if (live_.size() >= kMostBuilds || builds_of(who.tenant) >= kMostBuildsOfOne)
    return Error(ErrorCode::resource_exhausted, "too many templates are being built; try again");
  auto live = std::make_shared<Live>();
  live->build = std::move(build);
  live->recipe = std::move(recipe);
  live->who = std::move(who);
  live_[live->build.id] = live;
  tasks_.spawn("build " + live->build.id, run_in_turn(live));
  return ok();
}

Task<Result<void>> TemplateBuilder::run(BuildRecord build, Recipe recipe, Principal who) {
  std::string id = build.id;
  HAKO_CO_TRYV(start(std::move(build), std::move(recipe), std::move(who)));
  Build live = live_[id];
  co_await until_over(live);
  if (live->build.state == BuildState::ready) co_return ok();
  co_return Error(ErrorCode::failed_precondition, live->build.reason);
}

size_t TemplateBuilder::builds_of(const std::string& tenant) const {
  size_t count = 0;
  for (const auto& [id, live] : live_)
    if (live->who.tenant == tenant && !live->pulled) ++count;
  return count;
}

Task<void> TemplateBuilder::until_stopped(Build live) {
  while (!live->stopped) co_await live->stopping.wait();
}

Task<void> TemplateBuilder::until_over(Build live) {
  while (!live->is_over()) co_await live->ended.wait();
}

Task<Result<bool>> TemplateBuilder::stands(Principal who) {
  auto work = [who = std::move(who), now = unix_now_ms()](store::TenantStore& store) {
    return may_go_on(store, who, policy::Action::template_write, now);
  };
  auto stands = co_await store_.with_tenants(std::move(work));
  if (!stands) co_return error_for_user(stands.error(), "key not looked up");
  co_return stands.value();
}

Task<void> TemplateBuilder::drop_stale() {
  std::vector<Build> all;
  for (const auto& [id, live] : live_) all.push_back(live);
  for (const Build& live : all) {
    auto may = co_await stands(live->who);
    if (may && !may.value()) live->stop();
  }
}

Task<void> TemplateBuilder::run_in_turn(Build live) {
  auto taking = turns_.take(live->who.tenant);
  auto stopped = until_stopped(live);
  auto turn = co_await run_until(std::move(stopped), std::move(taking));
  Result<void> begins = ok();
  if (!turn) begins = no_longer_allowed();
  if (turn && !*turn) begins = turn->error();
  co_await carry_out(std::move(live), std::move(begins));
}

Task<Result<void>> TemplateBuilder::work_on(Build live) {
  // It may have waited long.
  HAKO_CO_TRY(bool may, co_await stands(live->who));
  if (!may) co_return no_longer_allowed();
  live->build.state = BuildState::building;
  HAKO_CO_TRYV(co_await catalog_.update_build(live->build));
  live->machine = "b" + random_lower_alphanumeric(kMachineName);
  auto most = std::chrono::minutes(config_.build_minutes);
  auto late = std::chrono::steady_clock::now() + most;
  auto building = build(live);
  auto in_time = with_deadline(most, std::move(building));
  auto stopped = until_stopped(live);
  auto done = co_await run_until(std::move(stopped), std::move(in_time));
  if (!done) co_return no_longer_allowed();
  if (!*done && std::chrono::steady_clock::now() >= late)
    co_return Error(ErrorCode::failed_precondition,
                    "a build may take at most " + std::to_string(most.count()) + " minutes");
  co_return std::move(*done);
}

Task<void> TemplateBuilder::abort(const Live& live) {
  if (live.machine.empty()) co_return;  // it has not begun
  json::object body;
  body["build"] = live.machine;
  // The node ends it by itself when it loses us; an answer is not needed.
  (void)co_await node_.call("build.abort", std::move(body), kAbortTime);
}

Task<void> TemplateBuilder::carry_out(Build live, Result<void> begins) {
  Result<void> done = std::move(begins);
  if (done) done = co_await work_on(live);
  if (!done) {
    co_await abort(*live);
    // The build that an image is pulled for says how that went.
    if (!live->pulled) live->log->add("error", done.error().message(), live->step);
    live->build.reason = valid_utf8(done.error().message());
    live->build.step = live->step;
  }
  live->counted.reset();
  BuildRecord finished = live->build;
  finished.state = done ? BuildState::ready : BuildState::error;
  finished.finished_ms = unix_now_ms();
  // The log of one that is pulled is that of the build it is for, whose label may be higher.
  if (!live->pulled) finished.log = json::serialize(live->log->entries());
  auto kept = co_await write_end(*live, finished);
  if (!kept) {
    finished.state = BuildState::error;
    finished.reason = kept.error().message();
    (void)co_await catalog_.update_build(finished);
  }
  // What it has made, or was making as it was stopped, is nobody's.
  if (!kept || (!done && live->step == kLastStep)) co_await catalog_.remove_strays();
  live->build = std::move(finished);
  live_.erase(live->build.id);
  live->ended.notify_all();
  log_info("template built", {{"build", live->build.id},
                              {"state", std::string(to_string(live->build.state))},
                              {"step", live->build.step}});
}

Task<Result<void>> TemplateBuilder::write_end(Live& live, BuildRecord& finished) {
  if (finished.state == BuildState::ready)
    co_return co_await catalog_.finish_build(finished, live.who);
  co_return co_await catalog_.update_build(finished);
}

/// The installed image is looked up by nobody else: it is in no record.
Result<void> TemplateBuilder::may_start_from(const Live& live, const ResolvedTemplate& what) const {
  // Of what is unpacked from an archive nothing of it is left.
  bool goes_in = !live.pulled && live.recipe.from_archive.empty();
  if (!goes_in || !catalog_.is_default(what.id)) return ok();
  auto decision =
      policy::may_read(live.who.permission, what.facts, unix_now_ms());
  if (!decision.allowed) return refused_by(decision);
  return ok();
}

Task<Result<void>> TemplateBuilder::admit_build_of(Live& live, policy::Amounts one) {
  if (live.build.vcpus > 0) one.vcpus = live.build.vcpus;
  if (live.build.memory_mib > 0) one.memory_mib = live.build.memory_mib;
  HAKO_CO_TRYV(admit_size(live.who.permission, one.memory_mib, one.vcpus));
  // Counted first: a sandbox that is asked for from now on sees it, and one before is in the store.
  policy::Amounts others = limits_.building(live.who.tenant);
  live.counted.emplace(limits_.count_build(live.who.tenant, one));
  auto work = [tenant = live.who.tenant](store::TenantStore& tenants) {
    return tenants.usage_of(tenant);
  };
  auto usage = co_await store_.with_tenants(std::move(work));
  if (!usage) co_return error_for_user(usage.error(), "usage not read");
  const store::Usage& now = usage.value();
  policy::Amounts in_use{now.boxes + others.boxes, now.vcpus + others.vcpus,
                         now.memory_mib + others.memory_mib, now.disk_mib + others.disk_mib};
  co_return admit_build(live.who.quota, in_use, one);
}

}  // namespace hako::api
