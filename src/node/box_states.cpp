// Boxes that stand still, are written down, and go on: as themselves, or as several.
#include <algorithm>

#include "base/log.h"
#include "node/boxes.h"
#include "rpc/agreed.h"

namespace hako::node {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostChildren = 100;
/// Children that are made at once: by then the processors of a small host have enough to do.
constexpr int kChildrenAtOnce = 3;
/// Memory that differs from the snapshot is each child's own; from so many children or so much of it
/// on, a snapshot that they share is worth its making.
constexpr size_t kChildrenToShare = 4;
constexpr uint64_t kPagesToShare = (8 << 20) / engine::kGuestPage;
/// Children that are not begun within this time, and rpc::kTimeForEachChild more for each, are not
/// made: whoever waits for the others would give up all of them (kNodeCreateDeadline in the api).
constexpr auto kForkTime = std::chrono::seconds(35);
constexpr int kMostFailedPauses = 5;
/// Of a box whose machine is still to be found: it is promised to be kept, but not for ever.
constexpr int kMostPausesNotFound = 60;
constexpr auto kPauseAgain = std::chrono::seconds(5);
constexpr auto kGoOnAgain = std::chrono::seconds(1);

std::chrono::milliseconds since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
}

CheckpointRecord describe(const VmRecord& vm) {
  CheckpointRecord record;
  record.tenant = vm.tenant;
  record.box = vm.box;
  record.template_name = vm.template_name;
  record.size = vm.size;
  record.disk_mib = vm.disk_mib;
  record.defaults = vm.defaults;
  record.envs = vm.envs;
  return record;
}

Error no_box(const std::string& id) {
  return Error(ErrorCode::not_found, "box " + id + " does not exist");
}

bool worth_sharing(const BoxState& state, size_t children) {
  uint64_t pages = engine::pages_in(state.machine->memory.runs);
  uint64_t all = (uint64_t(state.base->memory.size.memory_mib) << 20) / engine::kGuestPage;
  if (pages * 4 >= all) return true;
  return children >= kChildrenToShare && pages >= kPagesToShare;
}

Task<Result<void>> nothing_to_keep() {
  co_return ok();
}

/// The same moment, standing on a snapshot of its own. Blocking.
Result<BoxState> on_its_own(BoxState state) {
  auto base = std::make_shared<LoadedSnapshot>();
  HAKO_TRY(base->memory, engine::materialise(state.base->memory, *state.machine));
  base->id = engine::snapshot_id(base->memory);
  HAKO_TRY(base->rootfs,
           open_file("/proc/self/fd/" + std::to_string(state.base->rootfs.get()), O_RDONLY));
  base->template_name = state.base->template_name;
  base->revision = state.base->revision;
  base->defaults = state.base->defaults;
  base->disk_mib = state.base->disk_mib;
  state.base = std::move(base);
  state.machine.reset();
  return state;
}

}  // namespace

Task<Result<Boxes::Held>> Boxes::hold(std::string id) {
  for (;;) {
    Box* box = find(id);
    if (!box) co_return no_box(id);
    auto vm = box->vm;
    auto turn = co_await vm->turns().take();
    // Whoever had the turn may have ended it, paused it, or moved it to another machine.
    box = find(id);
    if (box && box->vm == vm) co_return Held(std::move(vm), std::move(turn));
  }
}

Result<void> Boxes::check_answers(const std::string& id) {
  Box* box = find(id);
  if (!box) return no_box(id);
  if (!box->vm->machine()) return Vm::does_not_answer();
  return ok();
}

Task<Result<BoxState>> Boxes::take_state(std::shared_ptr<Vm> vm, bool memory, bool go_on,
                                         std::chrono::milliseconds& stood_still) {
  if (!vm->machine()) co_return Vm::does_not_answer();
  if (!vm->base()) {
    HAKO_CO_TRY(auto base, co_await templates_.base(vm->record().vmm.base));
    vm->stand_on(std::move(base));
  }
  auto start = Clock::now();
  auto state = co_await vm->stop_and_take_state(memory);
  if (state && !go_on) co_return std::move(state);
  Result<void> goes_on = co_await vm->go_on();
  stood_still = since(start);
  if (!goes_on) keep_going(vm);
  if (!state) co_return state.error();
  if (!goes_on) co_return goes_on.error().with_context("set the box going again");
  co_return std::move(state);
}

void Boxes::keep_going(std::shared_ptr<Vm> vm) {
  std::string name = "set going " + vm->record().box;
  tasks_.spawn(std::move(name), set_going(std::move(vm)));
}

/// Whatever keeps it from it may pass; what is of no use is a box that stands still for ever.
Task<void> Boxes::set_going(std::shared_ptr<Vm> vm) {
  for (;;) {
    {
      auto turn = co_await vm->turns().take();
      Box* box = find(vm->record().box);
      if (!vm->stands_still() || !box || box->vm != vm) co_return;
      auto goes_on = co_await run_to_end(vm->go_on());
      if (goes_on) co_return;
      log_error("box_stands_still",
                {{"box", vm->record().box}, {"error", goes_on.error().message()}});
    }
    co_await sleep_for(kGoOnAgain);
  }
}

Task<Result<Boxes::Saved>> Boxes::save(std::string box, std::string checkpoint, bool memory,
                                       bool end) {
  return run_to_end(save_to_end(std::move(box), std::move(checkpoint), memory, end));
}

Task<Result<Boxes::Saved>> Boxes::save_to_end(std::string id, std::string checkpoint, bool memory,
                                              bool end) {
  if (!is_checkpoint_id(checkpoint))
    co_return Error(ErrorCode::invalid_argument, "malformed checkpoint id");
  HAKO_CO_TRYV(check_answers(id));
  HAKO_CO_TRYV(check_disk());
  auto saving = co_await saving_.take();
  HAKO_CO_TRY(auto held, co_await hold(id));
  auto vm = held.vm;
  Saved saved;
  HAKO_CO_TRY(auto state, co_await take_state(vm, memory, !end, saved.stood_still));
  CheckpointRecord record = describe(vm->record());
  record.id = checkpoint;
  auto kept = co_await checkpoints_.save(std::move(record), state);
  Box* box = find(id);
  if (kept && end && !box) {
    // It was ended meanwhile: whoever did that wants nothing of it to stay.
    (void)co_await checkpoints_.remove(checkpoint);
    co_return no_box(id);
  }
  if (!kept) {
    Result<void> goes_on = ok();
    if (end && box) goes_on = co_await vm->go_on();
    if (!goes_on) keep_going(vm);
    co_return kept.error();
  }
  saved.bytes = kept.value().bytes;
  if (!end) co_return saved;
  // From here on the checkpoint is the box, also for a node that starts now.
  auto left = vm->update_record([](VmRecord& of) { of.state = VmState::left; });
  if (!left) log_warn("record_not_written", {{"box", id}, {"error", left.error().message()}});
  box->ending = true;
  co_await vm->destroy();
  boxes_.erase(id);
  log_info("box_paused", {{"box", id}, {"checkpoint", checkpoint}, {"bytes", saved.bytes}});
  co_return saved;
}

Task<Result<std::unique_ptr<Vm>>> Boxes::claim_checkpoint(const CreateBox& asked) {
  CreateBox request = asked;
  const CheckpointRecord* found = checkpoints_.find(request.checkpoint);
  if (!found || (found->problem.empty() && found->tenant != request.tenant))
    co_return Error(ErrorCode::not_found, "checkpoint " + request.checkpoint + " does not exist");
  CheckpointRecord of = *found;
  if (request.envs.empty()) request.envs = of.envs;
  // What is read takes memory, too.
  auto turn = co_await cloning_.take();
  HAKO_CO_TRY(auto state, co_await checkpoints_.open(request.checkpoint));
  auto restored = co_await restore(request, of, state);
  if (!restored) co_return of_making(restored.error());
  auto vm = std::move(restored).value();
  auto published = co_await publish(*vm, request);
  if (!published) {
    co_await vm->destroy();
    co_return of_making(published.error());
  }
  co_return std::move(vm);
}

/// A machine that has its identity, but that nobody can reach yet.
Task<Result<std::unique_ptr<Vm>>> Boxes::restore(const CreateBox& request,
                                                 const CheckpointRecord& of,
                                                 const BoxState& state) {
  Result<std::unique_ptr<Vm>> made = Error(ErrorCode::internal, "not made");
  if (state.memory)
    made = co_await Vm::restore(context_, state, of, request.tenant);
  else
    made = co_await boot_from_disk(request, of, state);
  if (!made) co_return made.error();
  auto vm = std::move(made).value();
  Result<void> done = promise(*vm, request);
  if (done) done = co_await vm->identify(request.box, request.envs, request.trust);
  if (!done) {
    co_await vm->destroy();
    co_return done.error();
  }
  co_return std::move(vm);
}

Task<Result<std::unique_ptr<Vm>>> Boxes::boot_from_disk(const CreateBox& request,
                                                        const CheckpointRecord& of,
                                                        const BoxState& state) {
  auto path_of = [](const Fd& file) { return "/proc/self/fd/" + std::to_string(file.get()); };
  Vm::ColdBoot boot = templates_.boot_of(of, path_of(state.base->rootfs), path_of(state.disk));
  boot.tenant = request.tenant;
  Startup startup;
  startup.defaults = of.defaults;
  std::string disk = checkpoints_.temporary();
  auto booted = co_await make_snapshot(context_, std::move(boot), std::move(startup), disk);
  if (!booted) {
    ::unlink(disk.c_str());
    co_return booted.error();
  }
  auto base = std::make_shared<LoadedSnapshot>();
  base->memory = std::move(booted).value();
  base->id = engine::snapshot_id(base->memory);
  auto opened = open_file(disk, O_RDONLY);
  ::unlink(disk.c_str());
  if (!opened) co_return opened.error();
  base->disk = std::move(opened).value();
  HAKO_CO_TRY(base->rootfs, open_file(path_of(state.base->rootfs), O_RDONLY));
  base->template_name = of.template_name;
  base->revision = state.base->revision;
  base->defaults = of.defaults;
  base->disk_mib = of.disk_mib;
  Bases::Pin stays(bases_, base->id);
  // A box must not outlive what it stands on, also if this node does not live so long.
  HAKO_CO_TRYV(co_await keep_base(base));
  co_return co_await Vm::clone(context_, std::move(base), request.tenant);
}

Task<Result<void>> Boxes::keep_base(Bases::Base base) {
  bases_.note(base);
  co_return co_await bases_.keep(base);
}

struct Boxes::Forking {
  CheckpointRecord of;
  BoxState state;
  const std::vector<CreateBox>& children;
  Clock::time_point until;  ///< no child is begun behind it
  std::vector<Result<Created>> made;
  size_t next = 0;
};

Task<Result<std::vector<Result<Boxes::Created>>>> Boxes::fork(
    std::string box, std::vector<CreateBox> children,
    std::optional<boost::json::object> reaching) {
  return run_to_end(fork_to_end(std::move(box), std::move(children), std::move(reaching)));
}

Task<Result<std::vector<Result<Boxes::Created>>>> Boxes::fork_to_end(
    std::string id, std::vector<CreateBox> children,
    std::optional<boost::json::object> reaching) {
  if (children.empty() || children.size() > kMostChildren)
    co_return Error(ErrorCode::invalid_argument,
                    "a box can be forked into 1 to " + std::to_string(kMostChildren));
  HAKO_CO_TRYV(check_answers(id));
  HAKO_CO_TRYV(check_room());
  Forking forking{{}, {}, children, Clock::now() + kForkTime, {}};
  forking.until += rpc::kTimeForEachChild * static_cast<int>(children.size());
  auto under_way = co_await forking_.take();
  Activity::Busy busy(activity_);
  {
    HAKO_CO_TRY(auto held, co_await hold(id));
    auto vm = held.vm;
    forking.of = describe(vm->record());
    std::chrono::milliseconds stood_still{};
    HAKO_CO_TRY(forking.state, co_await take_state(vm, true, true, stood_still));
    // Of a box that may reach less by now, secrets may be in the copy that must not go where the
    // children may.
    if (reaching && vm->record().egress != *reaching)
      co_return Error(ErrorCode::failed_precondition,
                      "what the box may reach has changed while it was copied; try again");
    log_info("box_forked", {{"box", id},
                            {"children", children.size()},
                            {"mib", engine::pages_in(forking.state.machine->memory.runs) >> 8},
                            {"stood_still_ms", stood_still.count()}});
  }
  bool shared = worth_sharing(forking.state, children.size());
  if (shared) {
    auto work = [&] { return on_its_own(std::move(forking.state)); };
    HAKO_CO_TRY(forking.state, co_await run_blocking(context_.blocking, work));
  }
  for (size_t i = 0; i < children.size(); ++i)
    forking.made.emplace_back(Error(ErrorCode::internal, "the box was not made"));
  Bases::Pin stays(bases_, forking.state.base->id);
  // Beside the making of those that stand on it, and durable before they are promised to anybody: a
  // later run of this node must find it, or they could not be saved any more.
  Task<Result<void>> keeping = shared ? keep_base(forking.state.base) : nothing_to_keep();
  using namespace asio::experimental::awaitable_operators;
  static_assert(kChildrenAtOnce == 3);
  auto first = make_children(forking);
  auto second = make_children(forking);
  auto third = make_children(forking);
  Result<void> kept = co_await (std::move(keeping) && std::move(first) && std::move(second) &&
                                std::move(third));
  if (!kept)
    log_error("base_not_kept", {{"box", id}, {"error", kept.error().message()}});
  co_return std::move(forking.made);
}

Task<void> Boxes::make_children(Forking& forking) {
  while (forking.next < forking.children.size()) {
    size_t index = forking.next++;
    CreateBox request = forking.children[index];
    if (request.envs.empty()) request.envs = forking.of.envs;
    Result<void> fits = check_request(request);
    if (fits) fits = check_room();
    if (Clock::now() > forking.until)
      fits = Error(ErrorCode::timed_out, "making the others took all the time that there was");
    if (!fits) {
      forking.made[index] = fits.error();
      continue;
    }
    Making making(*this, request.box);
    auto turn = co_await cloning_.take();
    auto restored = co_await restore(request, forking.of, forking.state);
    if (!restored) {
      forking.made[index] = restored.error();
      continue;
    }
    auto vm = std::move(restored).value();
    auto published = co_await publish(*vm, request);
    if (!published) {
      co_await vm->destroy();
      forking.made[index] = published.error();
      continue;
    }
    Created created;
    created.record = vm->record();
    forking.made[index] = std::move(created);
    keep(request.box, std::move(vm));
  }
}

Task<Result<Boxes::Created>> Boxes::roll_back(std::string box, std::string checkpoint,
                                              Trust trust) {
  return run_to_end(roll_back_to_end(std::move(box), std::move(checkpoint), std::move(trust)));
}

Task<Result<Boxes::Created>> Boxes::roll_back_to_end(std::string id, std::string checkpoint,
                                                     Trust trust) {
  HAKO_CO_TRY(auto held, co_await hold(id));
  auto old = held.vm;
  const CheckpointRecord* found = checkpoints_.find(checkpoint);
  bool known = found && found->problem.empty();
  if (!found || (known && (found->tenant != old->record().tenant || found->box != id)))
    co_return Error(ErrorCode::not_found, "checkpoint " + checkpoint + " does not exist");
  HAKO_CO_TRYV(check_disk());
  CheckpointRecord of = *found;
  auto cloning = co_await cloning_.take();
  HAKO_CO_TRY(auto state, co_await checkpoints_.open(checkpoint));
  // The guest refuses a generation that it has had.
  state.generation = std::max(state.generation, old->record().generation);
  CreateBox request;
  request.box = id;
  request.tenant = old->record().tenant;
  request.access_token = old->record().access_token;
  request.envs = of.envs;
  request.trust = std::move(trust);
  HAKO_CO_TRY(auto made, co_await restore(request, of, state));
  std::shared_ptr<Vm> vm = std::move(made);
  auto moved = co_await move_to(id, old, vm);
  if (!moved) {
    co_await vm->destroy();
    co_return moved.error();
  }
  Created created;
  created.record = vm->record();
  (void)old->update_record([](VmRecord& record) { record.state = VmState::left; });
  co_await old->destroy();
  (void)vm->update_record([](VmRecord& record) { record.replaces.clear(); });
  log_info("box_rolled_back", {{"box", id}, {"checkpoint", checkpoint}});
  co_return created;
}

/// On an error the box is where it was, and `vm` is still to be destroyed.
Task<Result<void>> Boxes::move_to(std::string id, std::shared_ptr<Vm> old,
                                  std::shared_ptr<Vm> vm) {
  Box* box = find(id);
  if (!box || box->vm != old) co_return no_box(id);
  HAKO_CO_TRYV(vm->update_record([&](VmRecord& record) {
    record.ingress = old->record().ingress;
    record.egress = old->record().egress;
    record.ends = old->record().ends;
    record.on_end = old->record().on_end;
    record.started = old->record().started;
    record.replaces = old->record().machine;
  }));
  // From here on what is said of the box is said of both.
  box->next = vm;
  CreateBox request;
  request.box = id;
  request.access_token = vm->record().access_token;
  request.ingress = vm->record().ingress;
  request.egress = vm->record().egress;
  // From here on the gate leads to this one; what goes on with the other is cut with its end.
  auto published = co_await publish(*vm, request);
  box = find(id);
  if (box) box->next.reset();
  // It was ended meanwhile, and that was answered.
  if (!box || box->vm != old) co_return no_box(id);
  if (!published) {
    tasks_.spawn("announce " + id, announce(old));
    co_return published.error();
  }
  keep(id, vm);
  co_return ok();
}

Task<void> Boxes::pause_expired(std::string id) {
  Box* box = find(id);
  if (!box) co_return;
  OnEnd on_end = box->vm->record().on_end;
  struct Pausing {
    Boxes& boxes;
    const std::string& id;
    ~Pausing() {
      if (Box* left = boxes.find(id)) left->pausing = false;
    }
  } pausing{*this, id};
  auto saved = co_await save(id, on_end.checkpoint, on_end.memory, true);
  if (saved) {
    ended_(id, EndReason::paused, on_end.checkpoint);
    co_return;
  }
  box = find(id);
  if (!box) co_return;
  log_error("box_not_paused", {{"box", id}, {"error", saved.error().message()}});
  int most = box->vm->machine() ? kMostFailedPauses : kMostPausesNotFound;
  if (++box->failed_pauses < most) {
    co_await sleep_for(kPauseAgain);
    co_return;
  }
  std::string detail = "it could not be paused at its end: " + saved.error().message();
  (void)co_await destroy(id, EndReason::expired, std::move(detail));
}

}  // namespace hako::node
