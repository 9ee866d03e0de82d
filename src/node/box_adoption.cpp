// Boxes of an earlier run, whose machines are found again.
#include <algorithm>

#include "base/async/lasting.h"
#include "base/log.h"
#include "node/boxes.h"

namespace hako::node {
namespace {

constexpr auto kFindPatience = std::chrono::seconds(30);
constexpr auto kFindPause = std::chrono::milliseconds(200);
constexpr auto kFindPauseLater = std::chrono::seconds(2);

}  // namespace

Task<void> Boxes::adopt(std::vector<VmRecord> records, Duration wait) {
  for (VmRecord& record : records) {
    std::shared_ptr<Vm> vm = Vm::known(context_, std::move(record));
    const std::string& id = vm->record().box;
    take_in(id, vm);
    std::string name = "find " + id;
    tasks_.spawn(name, lasting(name, [this, vm] { return find_again(vm); }));
  }
  auto all = [this]() -> Task<Result<void>> {
    while (not_found() > 0) co_await found_.wait();
    co_return ok();
  };
  auto in_time = co_await with_deadline(wait, all());
  if (!in_time) log_warn("boxes_not_found_yet", {{"boxes", not_found()}});
}

int64_t Boxes::not_found() const {
  return std::ranges::count_if(boxes_, [](const auto& entry) { return !entry.second.vm->machine(); });
}

Task<void> Boxes::find_again(std::shared_ptr<Vm> vm) {
  std::string id = vm->record().box;
  auto patience = std::chrono::steady_clock::now() + kFindPatience;
  auto is_still_there = [&] {
    Box* box = find(id);
    return box && box->vm == vm;
  };
  Result<void> found = Vm::does_not_answer();
  for (Duration pause = kFindPause;; co_await sleep_for(pause)) {
    {
      auto turn = co_await vm->turns().take();
      if (!is_still_there()) break;
      found = co_await vm->find_again();
    }
    // A busy host may let a VMM answer late, or be short of something for a while; and whoever has taken
    // over a VMM that does not answer has only what is left of its box's time. Its end is its end.
    if (!is_still_there() || found || found.error().code() == ErrorCode::not_found) break;
    if (pause == kFindPause && std::chrono::steady_clock::now() >= patience) {
      log_error("box_not_found", {{"box", id}, {"error", found.error().message()}});
      pause = kFindPauseLater;
    }
  }
  if (is_still_there() && !found) {
    log_error("box_lost", {{"box", id}, {"error", found.error().message()}});
    std::string detail = "its machine was not found again: " + found.error().message();
    (void)co_await destroy(id, EndReason::died, std::move(detail));
  }
  if (is_still_there()) {
    look_after(id, vm);
    // A gate that has connected meanwhile was not told of it.
    if (context_.gate.connected()) tasks_.spawn("announce " + id, announce(vm));
  }
  found_.notify_all();
}

}  // namespace hako::node
