#include "node/boxes.h"

#include "base/async/both.h"
#include "base/async/lasting.h"
#include "base/log.h"
#include "node/host_room.h"

namespace hako::node {
namespace {

constexpr auto kHealthInterval = std::chrono::seconds(15);
/// Clones made at once for creates that found the pool empty: more than there are cores only makes
/// all of them late. No fewer than [fairness] creates_at_once as it is installed: here it goes
/// by arrival, and one tenant could be in another's way.
constexpr int kClonesAtOnce = 4;
/// Pooled clones woken at once: with more, each gets so little of a core that all are late.
constexpr int kClaimsAtOnce = 4;
/// So long a pooled clone runs on with the pool's part of the processors. Its tenant's may be small
/// just then, as others are busy, and what a user waits for at first is little.
constexpr auto kStartTime = std::chrono::milliseconds(500);
/// Boxes whose states are written down at once, and forks under way: each takes as much memory as what
/// differs from its template.
constexpr int kSavesAtOnce = 3;
constexpr int kForksAtOnce = 3;
constexpr size_t kMostPools = 8;
constexpr int kSmallestMemoryMib = 128;
constexpr int kAnnounceTries = 5;
constexpr int kDestroyTries = 5;
constexpr auto kDestroyPause = std::chrono::seconds(1);
// With what a template has (template_service.cpp) these stay below kLargestRecord.
constexpr size_t kLargestEgress = 256 << 10;
constexpr size_t kLargestIngress = 64 << 10;
constexpr size_t kLargestEnvironment = 256 << 10;
constexpr auto kPoolRetry = std::chrono::seconds(10);

bool is_box_id(const std::string& id) {
  if (id.empty() || id.size() > 64) return false;
  for (char c : id)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) return false;
  return true;
}

/// They are kept in the machine's record, which is read as a whole.
Result<void> check_size(std::string_view what, const boost::json::object& kept, size_t largest) {
  if (boost::json::serialize(kept).size() > largest)
    return Error(ErrorCode::too_large, std::string(what) + " is more than " +
                                           std::to_string(largest >> 10) + " KiB");
  return ok();
}
Result<void> check_egress(const boost::json::object& egress) {
  return check_size("what the box may reach", egress, kLargestEgress);
}
Result<void> check_ingress(const boost::json::object& ingress) {
  return check_size("who may reach the box", ingress, kLargestIngress);
}

}  // namespace

std::string_view to_string(EndReason reason) {
  switch (reason) {
    case EndReason::destroyed:
      return "destroyed";
    case EndReason::expired:
      return "expired";
    case EndReason::died:
      return "died";
    case EndReason::out_of_memory:
      return "out_of_memory";
    case EndReason::paused:
      return "paused";
  }
  return "died";
}

Boxes::Boxes(Context& context, Templates& templates, Bases& bases, Checkpoints& checkpoints,
             Ended ended)
    : context_(context),
      templates_(templates),
      bases_(bases),
      checkpoints_(checkpoints),
      ended_(std::move(ended)),
      cloning_(kClonesAtOnce),
      claiming_(kClaimsAtOnce),
      saving_(kSavesAtOnce),
      forking_(kForksAtOnce),
      tasks_(context.executor) {}

void Boxes::start() {
  auto ends = [this] { return enforce_ends(); };
  tasks_.spawn("end boxes in time", lasting("end boxes in time", ends));
  auto health = [this] { return watch_health(); };
  tasks_.spawn("watch health", lasting("watch health", health));
}

Task<void> Boxes::stop() {
  stopping_ = true;  // creates are refused from here on
  co_await tasks_.stop();
  auto turn = co_await pool_changes_.take();
  auto pools = std::exchange(pools_, {});
  for (auto& [name, pool] : pools) co_await pool->stop();
  for (auto& [id, box] : boxes_) box.vm->release();
  boxes_.clear();
}

Result<void> Boxes::check_disk() const {
  const config::Config& config = context_.config;
  HAKO_TRY(auto disk, free_disk_mib(config.state_dir));
  if (disk < config.min_free_disk_mib)
    return Error(ErrorCode::no_space, "only " + std::to_string(disk) +
                                          " MiB of disk are free on this node; nothing is saved below " +
                                          std::to_string(config.min_free_disk_mib));
  return ok();
}

Result<void> Boxes::check_room() const {
  const config::Config& config = context_.config;
  if (boxes_.size() + creating_.size() >= static_cast<size_t>(config.max_boxes))
    return Error(ErrorCode::no_capacity,
                 "this node runs its " + std::to_string(config.max_boxes) + " boxes already");
  return check_host_room(config);
}

Task<Result<Boxes::Created>> Boxes::create(CreateBox request) {
  return run_to_end(create_to_end(std::move(request)));
}

Task<Result<Boxes::Created>> Boxes::create_to_end(CreateBox request) {
  HAKO_CO_TRYV(check_request(request));
  HAKO_CO_TRYV(check_room());
  Making making(*this, request.box);
  Activity::Busy busy(activity_);
  auto start = std::chrono::steady_clock::now();
  bool from_pool = false;
  auto claimed = co_await claim(request, from_pool);
  if (!claimed) co_return claimed.error();

  open_pool_if_used(request.template_name);
  Created created;
  created.record = claimed.value()->record();
  created.from_pool = from_pool;
  auto took = std::chrono::steady_clock::now() - start;
  log_info("box_made",
           {{"box", request.box},
            {"from_pool", from_pool},
            {"ms", std::chrono::duration_cast<std::chrono::milliseconds>(took).count()}});
  keep(request.box, std::move(claimed).value());
  co_return std::move(created);
}

Error Boxes::of_making(const Error& error) {
  switch (error.code()) {
    case ErrorCode::not_found:
    case ErrorCode::already_exists:
    case ErrorCode::invalid_argument:
    case ErrorCode::failed_precondition:
      break;
    default:
      return error;
  }
  log_warn("machine_not_made", {{"error", error.message()}});
  return Error(ErrorCode::unavailable, error.message());
}

Result<void> Boxes::check_request(const CreateBox& request) const {
  if (!is_box_id(request.box)) return Error(ErrorCode::invalid_argument, "malformed box id");
  HAKO_TRYV(check_egress(request.egress));
  HAKO_TRYV(check_ingress(request.ingress));
  HAKO_TRYV(check_size("the box's environment", request.envs, kLargestEnvironment));
  if (stopping_) return Error(ErrorCode::unavailable, "the node is stopping");
  if (boxes_.contains(request.box) || creating_.contains(request.box))
    return Error(ErrorCode::already_exists, "box " + request.box + " exists");
  return ok();
}

Boxes::Box* Boxes::find(const std::string& id) {
  auto found = boxes_.find(id);
  return found == boxes_.end() || found->second.ending ? nullptr : &found->second;
}

Task<Result<std::unique_ptr<Vm>>> Boxes::claim(const CreateBox& request, bool& from_pool) {
  if (!request.checkpoint.empty()) co_return co_await claim_checkpoint(request);
  const Template* found = templates_.find(request.template_name);
  if (!found)
    co_return Error(ErrorCode::not_found,
                    "template '" + request.template_name + "' does not exist");
  engine::MachineSize size = found->size;
  if (request.memory_mib) size.memory_mib = *request.memory_mib;
  if (request.vcpus) size.vcpus = *request.vcpus;
  const config::Config& config = context_.config;
  if (size.memory_mib < kSmallestMemoryMib || size.memory_mib > config.max_memory_mib)
    co_return Error(ErrorCode::invalid_argument,
                    "memory must be from " + std::to_string(kSmallestMemoryMib) + " to " +
                        std::to_string(config.max_memory_mib) + " MiB");
  if (size.vcpus < 1 || size.vcpus > config.max_vcpus)
    co_return Error(ErrorCode::invalid_argument,
                    "the number of CPUs must be from 1 to " + std::to_string(config.max_vcpus));

  bool default_size = size.memory_mib == found->size.memory_mib && size.vcpus == found->size.vcpus;
  auto pool = pools_.find(request.template_name);
  // A pool of what the template was before it was built anew is about to be closed.
  if (default_size && pool != pools_.end() &&
      pool->second->snapshot()->revision == found->revision) {
    auto vm = co_await claim_pooled(request, pool->second);
    if (vm) {
      from_pool = true;
      co_return std::move(vm);
    }
  }
  auto snapshot = co_await templates_.snapshot(request.template_name, size, request.tenant);
  if (!snapshot) co_return snapshot.error();
  co_return co_await claim_clone(request, snapshot.value());
}

Task<Result<std::unique_ptr<Vm>>> Boxes::claim_pooled(const CreateBox& request,
                                                      std::shared_ptr<WarmPool> pool) {
  co_await pool->wait_for_one(request.tenant);
  auto turn = co_await claiming_.take();
  while (auto vm = pool->take(request.tenant)) {
    Result<void> done = co_await wake_and_hand_over(*vm, request);
    if (done) co_return std::move(vm);
    // A clone may have died while it waited; the next one may be well.
    log_warn("pooled_clone_lost",
             {{"machine", vm->record().machine}, {"error", done.error().message()}});
    co_await vm->destroy();
    if (!context_.gate.connected()) co_return done.error();
  }
  co_return Error(ErrorCode::unavailable, "the pool is empty");
}

Task<Result<std::unique_ptr<Vm>>> Boxes::claim_clone(
    const CreateBox& request, std::shared_ptr<const LoadedSnapshot> snapshot) {
  auto held = uses_of_pools_.hold(request.tenant);
  auto turn = co_await cloning_.take();
  auto cloned = co_await Vm::clone(context_, std::move(snapshot), request.tenant);
  if (!cloned) co_return of_making(cloned.error());
  auto vm = std::move(cloned).value();
  auto done = co_await hand_over(*vm, request);
  if (!done) {
    co_await vm->destroy();
    co_return of_making(done.error());
  }
  co_return std::move(vm);
}

Task<Result<void>> Boxes::hand_over(Vm& vm, const CreateBox& request) {
  HAKO_CO_TRYV(promise(vm, request));
  HAKO_CO_TRYV(co_await vm.identify(request.box, request.envs, request.trust));
  co_return co_await publish(vm, request);
}

Task<Result<void>> Boxes::wake_and_hand_over(Vm& vm, const CreateBox& request) {
  HAKO_CO_TRYV(promise(vm, request));
  // The guest finds its identity waiting when it wakes, rather than after the VMM has told us that
  // it did.
  auto resume = vm.machine()->resume();
  auto identify = vm.identify(request.box, request.envs, request.trust);
  HAKO_CO_TRYV(co_await both(std::move(resume), std::move(identify)));
  co_return co_await publish(vm, request);
}

Result<void> Boxes::promise(Vm& vm, const CreateBox& request) {
  return vm.update_record([&](VmRecord& record) {
    record.box = request.box;
    record.tenant = request.tenant;
    record.access_token = request.access_token;
    record.envs = request.envs;
    record.ingress = request.ingress;
    record.egress = request.egress;
    record.started = WallClock::now();
    record.ends = request.ends;
    record.on_end = request.on_end;
  });
}

Task<Result<void>> Boxes::publish(Vm& vm, const CreateBox& request) {
  HAKO_CO_TRYV(co_await context_.gate.publish(vm.record().machine, request.box,
                                              request.access_token, request.ingress,
                                              request.egress));
  // Only now is it a box: a daemon that ends before this finds a machine nobody was promised.
  co_return vm.update_record([](VmRecord& record) { record.state = VmState::box; });
}

void Boxes::keep(std::string id, std::shared_ptr<Vm> vm) {
  take_in(id, vm);
  look_after(id, std::move(vm));
}

void Boxes::take_in(const std::string& id, std::shared_ptr<Vm> vm) {
  auto held = uses_of_pools_.hold(vm->record().tenant);
  boxes_[id] = Box{.vm = std::move(vm), .held = std::move(held)};
}

void Boxes::look_after(const std::string& id, std::shared_ptr<Vm> vm) {
  tasks_.spawn("watch " + id, watch_end(id, vm->machine()));
  // Beside whoever waits for the box: the kernel may take some ten milliseconds for it. One of an
  // earlier run may have been started without shares.
  tasks_.spawn("share of " + id, give_share(std::move(vm)));
}

Task<void> Boxes::give_share(std::weak_ptr<Vm> claimed) {
  co_await sleep_for(kStartTime);
  // Not just returned: the task keeps the machine, which may end meanwhile.
  if (auto vm = claimed.lock()) co_await vm->take_share();
}

Task<Result<void>> Boxes::destroy(std::string id, EndReason reason, std::string detail) {
  return run_to_end(destroy_to_end(std::move(id), reason, std::move(detail)));
}

/// Whether it ended without a fault. One that ends half-way can be ended again.
Task<bool> Boxes::destroyed(Vm& vm) {
  try {
    co_await vm.destroy();
    co_return true;
  } catch (const std::exception& fault) {
    log_error("box_not_destroyed",
              {{"machine", vm.record().machine}, {"error", fault.what()}});
  }
  co_return false;
}

Task<Result<void>> Boxes::destroy_to_end(std::string id, EndReason reason, std::string detail) {
  auto found = boxes_.find(id);
  if (found == boxes_.end() || found->second.ending)
    co_return Error(ErrorCode::not_found, "box " + id + " does not exist");
  found->second.ending = true;
  auto vm = found->second.vm;
  if (reason == EndReason::died) {
    auto why = co_await vm->out_of_memory();
    if (why) {
      reason = EndReason::out_of_memory;
      detail = std::move(*why);
    }
  }
  for (int attempt = 1; !co_await destroyed(*vm); ++attempt) {
    // What is left then is for the watch for strays.
    if (attempt == kDestroyTries) break;
    co_await sleep_for(kDestroyPause);
  }
  boxes_.erase(id);
  log_info("box_ended", {{"box", id}, {"reason", to_string(reason)}, {"detail", detail}});
  ended_(id, reason, detail);
  co_return ok();
}

Result<void> Boxes::check_tenant(const std::string& id, const std::string& tenant) const {
  auto found = boxes_.find(id);
  if (found == boxes_.end() || found->second.vm->record().tenant != tenant)
    return Error(ErrorCode::not_found, "box " + id + " does not exist");
  return ok();
}

Result<void> Boxes::set_end(const std::string& id, WallTime ends, OnEnd on_end) {
  Box* box = find(id);
  if (!box) return Error(ErrorCode::not_found, "box " + id + " does not exist");
  box->failed_pauses = 0;
  return change_record(*box, [&](VmRecord& record) {
    record.ends = ends;
    record.on_end = on_end;
  });
}

Result<void> Boxes::change_record(Box& box, const std::function<void(VmRecord&)>& change) {
  Result<void> of_next = box.next ? box.next->update_record(change) : ok();
  HAKO_TRYV(box.vm->update_record(change));
  return of_next;
}

Task<Result<void>> Boxes::set_egress(std::string id, boost::json::object egress,
                                     std::optional<boost::json::object> ingress) {
  return run_to_end(set_egress_to_end(std::move(id), std::move(egress), std::move(ingress)));
}

Task<Result<void>> Boxes::set_egress_to_end(std::string id, boost::json::object egress,
                                            std::optional<boost::json::object> ingress) {
  HAKO_CO_TRYV(check_egress(egress));
  if (ingress) {
    HAKO_CO_TRYV(check_ingress(*ingress));
  }
  Box* box = find(id);
  if (!box) co_return Error(ErrorCode::not_found, "box " + id + " does not exist");
  auto vm = box->vm, next = box->next;
  HAKO_CO_TRYV(change_record(*box, [&](VmRecord& record) {
    record.egress = egress;
    if (ingress) record.ingress = *ingress;
  }));
  Result<void> told = ok();
  if (next) told = co_await context_.gate.set_egress(next->record().machine, egress, ingress);
  HAKO_CO_TRYV(co_await context_.gate.set_egress(vm->record().machine, egress, ingress));
  co_return told;
}

bool Boxes::is_machine_of(const std::string& machine, const std::string& box) const {
  auto found = context_.machines.find(machine);
  return found != context_.machines.end() && found->second->record().box == box;
}

std::vector<VmRecord> Boxes::list() const {
  std::vector<VmRecord> records;
  for (const auto& [id, box] : boxes_)
    if (!box.ending) records.push_back(box.vm->record());
  return records;
}

Task<Result<std::string>> Boxes::console(std::string id) {
  auto found = boxes_.find(id);
  if (found == boxes_.end() || found->second.ending)
    co_return Error(ErrorCode::not_found, "box " + id + " does not exist");
  auto vm = found->second.vm;
  auto turn = co_await vm->turns().take();
  auto machine = vm->machine();
  if (!machine) co_return Vm::does_not_answer();
  co_return co_await machine->console_tail();
}

Task<void> Boxes::announce(std::shared_ptr<Vm> vm) {
  const VmRecord& record = vm->record();
  auto ending = [&] {
    auto found = boxes_.find(record.box);
    return found == boxes_.end() || found->second.ending;
  };
  for (int attempt = 0; attempt < kAnnounceTries && !ending(); ++attempt) {
    Result<void> done = co_await vm->announce();
    if (done && !ending())
      done = co_await context_.gate.publish(record.machine, record.box, record.access_token,
                                            record.ingress, record.egress);
    // Its end came in between: the gate must not keep what it was just told.
    if (ending()) co_await context_.gate.remove(record.machine);
    if (done) {
      // Whatever stopped it has ended with an earlier gate, or with an earlier run of this node.
      if (vm->stands_still()) tasks_.spawn("set going " + record.box, set_going(vm));
      co_return;
    }
    log_warn("announce_failed", {{"box", record.box}, {"error", done.error().message()}});
    co_await sleep_for(std::chrono::seconds(1));
  }
}

Task<void> Boxes::announce_all() {
  std::vector<std::shared_ptr<Vm>> running;
  for (auto& [id, box] : boxes_)
    if (!box.ending && box.vm->machine()) running.push_back(box.vm);
  for (auto& vm : running) co_await announce(vm);
  // Pooled clones are warmed through a connection of the gate that has gone; new ones are quicker
  // to make than to mend.
  std::vector<std::string> names;
  for (auto& [name, pool] : pools_) names.push_back(name);
  for (auto& name : names) {
    auto pool = pools_.find(name);
    if (pool == pools_.end() || pool->second->ready() == 0) continue;
    co_await close_pool(name);
    co_await open_pool(name);
  }
}

Result<std::vector<Fd>> Boxes::open_sockets(const std::string& machine, int count) {
  auto found = context_.machines.find(machine);
  if (found == context_.machines.end())
    return Error(ErrorCode::not_found, "machine " + machine + " does not exist");
  return found->second->open_sockets(count);
}

void Boxes::open_pool_if_used(const std::string& name) {
  constexpr int kUsesForPool = 2;
  // Each pool costs the memory of its clones for as long as its template is there.
  if (pools_.contains(name) || stopping_ || pools_.size() >= kMostPools) return;
  if (++uses_[name] == kUsesForPool) tasks_.spawn("open pool of " + name, keep_pool_open(name));
}

Task<void> Boxes::open_pool(std::string name) {
  return run_to_end(open_pool_to_end(std::move(name)));
}

Task<void> Boxes::open_pool_to_end(std::string name) {
  auto turn = co_await pool_changes_.take();
  const Template* found = templates_.find(name);
  if (!found || pools_.contains(name)) co_return;
  auto snapshot = co_await templates_.snapshot(name, found->size);
  if (!snapshot) {
    log_error("pool_not_opened", {{"template", name}, {"error", snapshot.error().message()}});
    co_return;
  }
  if (context_.config.pool_size == 0) co_return;
  pools_[name] = std::make_shared<WarmPool>(context_, activity_, uses_of_pools_, snapshot.value(),
                                            static_cast<size_t>(context_.config.pool_size));
}

Task<void> Boxes::keep_pool_open(std::string name) {
  while (templates_.find(name)) {
    co_await open_pool(name);
    if (templates_.state(name).state == "ready") co_return;
    co_await sleep_for(kPoolRetry);
  }
}

Task<void> Boxes::close_pool(std::string name) {
  return run_to_end(close_pool_to_end(std::move(name)));
}

Task<void> Boxes::close_pool_to_end(std::string name) {
  auto turn = co_await pool_changes_.take();
  uses_.erase(name);
  auto found = pools_.find(name);
  if (found == pools_.end()) co_return;
  auto pool = std::move(found->second);
  pools_.erase(found);
  co_await pool->stop();
}

size_t Boxes::pooled(const std::string& name) const {
  auto found = pools_.find(name);
  return found == pools_.end() ? 0 : found->second->ready();
}

Task<void> Boxes::watch_end(std::string id, std::shared_ptr<engine::Machine> machine) {
  ExitStatus status = co_await machine->wait_end();
  auto found = boxes_.find(id);
  if (found == boxes_.end() || found->second.ending) co_return;
  // The box may have left this machine for another.
  if (found->second.vm->machine() != machine) co_return;
  std::string detail = "its machine " + status.describe();
  auto ended = co_await destroy(id, EndReason::died, std::move(detail));
  (void)ended;  // not_found: somebody else was quicker
}

Task<void> Boxes::end_expired(std::string id) {
  std::string detail = "its time to live has passed";
  auto ended = co_await destroy(std::move(id), EndReason::expired, std::move(detail));
  (void)ended;  // not_found: somebody else was quicker
}

Task<void> Boxes::enforce_ends() {
  for (;;) {
    auto now = WallClock::now();
    std::vector<std::string> due;
    for (auto& [id, box] : boxes_)
      if (!box.ending && box.vm->record().ends <= now) due.push_back(id);
    // Beside each other: one that is slow to end must not lengthen the others' lives.
    for (auto& id : due) {
      Box* box = find(id);
      if (!box || box->pausing) continue;
      box->pausing = box->vm->record().on_end.pause;
      if (box->pausing)
        tasks_.spawn("pause " + id, pause_expired(id));
      else
        tasks_.spawn("end " + id, end_expired(id));
    }
    co_await sleep_for(std::chrono::milliseconds(200));
  }
}

Task<void> Boxes::watch_health() {
  for (;;) {
    co_await sleep_for(kHealthInterval);
    std::vector<std::string> ids;
    for (auto& [id, box] : boxes_) ids.push_back(id);
    for (auto& id : ids) {
      auto found = boxes_.find(id);
      if (found == boxes_.end() || found->second.ending) continue;
      auto vm = found->second.vm;
      // Its turn may be taken up by whoever looks for it.
      if (!vm->machine()) continue;
      auto turn = co_await vm->turns().take();
      auto machine = vm->machine();
      if (!machine) continue;
      auto healthy = co_await machine->check_health();
      // A busy host may make one answer late; only a VMM that says it is broken, or has gone, is.
      if (healthy || healthy.error().code() == ErrorCode::timed_out) continue;
      auto ended = co_await destroy(id, EndReason::died, healthy.error().message());
      (void)ended;
    }
  }
}

}  // namespace hako::node
