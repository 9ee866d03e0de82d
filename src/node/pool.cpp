#include "node/pool.h"

#include "base/async/lasting.h"
#include "base/log.h"
#include "node/host_room.h"

namespace hako::node {
namespace {

constexpr auto kQuiet = std::chrono::milliseconds(20);
/// A burst of as many creates as the pool holds is over by then.
constexpr auto kLongestWait = std::chrono::seconds(4);
/// With none left for those who use little, the next of them would wait for a whole clone.
constexpr auto kUrgentWait = std::chrono::milliseconds(250);
constexpr auto kLongestAwaited = std::chrono::seconds(5);
constexpr auto kLookAgain = std::chrono::milliseconds(20);
constexpr auto kPoolWarmTime = std::chrono::seconds(20);
constexpr auto kRetry = std::chrono::seconds(2);

}  // namespace

Task<void> Activity::wait_until_quiet(std::function<bool()> urgent) {
  auto start = std::chrono::steady_clock::now();
  for (;;) {
    auto now = std::chrono::steady_clock::now();
    if (count_ == 0 && now - last_ >= kQuiet) co_return;
    if (now - start >= (urgent() ? Duration(kUrgentWait) : Duration(kLongestWait))) co_return;
    co_await sleep_for(kLookAgain);
  }
}

WarmPool::WarmPool(Context& context, Activity& activity, RecentUse& uses,
                   std::shared_ptr<const LoadedSnapshot> snapshot, size_t size)
    : context_(context),
      activity_(activity),
      uses_(uses),
      snapshot_(std::move(snapshot)),
      size_(size),
      // A small pool that kept some would have little to give.
      kept_(std::min(static_cast<size_t>(context.config.pool_kept), size / 2)),
      tasks_(context.executor) {
  tasks_.spawn("keep pool full", lasting("keep pool full", [this] { return keep_full(); }));
}

std::unique_ptr<Vm> WarmPool::take(const std::string& tenant) {
  auto now = std::chrono::steady_clock::now();
  bool kept = ready_.size() <= kept_ && !uses_.may_take_kept(tenant, now);
  uses_.note(tenant, now);
  if (ready_.empty() || kept) return nullptr;
  auto vm = std::move(ready_.front());
  ready_.pop_front();
  taken_.notify_all();
  return vm;
}

Task<Result<void>> WarmPool::next_made() {
  co_await made_.wait();
  co_return ok();
}

Task<void> WarmPool::wait_for_one(std::string tenant) {
  auto now = std::chrono::steady_clock::now();
  // By itself a tenant is better served by clones side by side, as are those who come second.
  bool waits = ready_.empty() && kept_ > 0 && !awaited_ && uses_.has_others(tenant, now) &&
               uses_.may_take_kept(tenant, now);
  if (!waits) co_return;
  struct Awaited {
    explicit Awaited(bool& flag) : flag(flag) { flag = true; }
    ~Awaited() { flag = false; }
    bool& flag;
  } awaited(awaited_);
  auto made = next_made();
  // Late, it is made anew by whoever asks.
  (void)co_await with_deadline(kLongestAwaited, std::move(made));
}

Task<void> WarmPool::stop() {
  co_await tasks_.stop();
  while (!ready_.empty()) {
    auto vm = std::move(ready_.front());
    ready_.pop_front();
    co_await vm->destroy();
  }
}

Task<void> WarmPool::keep_full() {
  for (;;) {
    while (ready_.size() < size_) {
      std::function<bool()> urgent = [this] { return awaited_ || ready_.size() < kept_; };
      co_await activity_.wait_until_quiet(std::move(urgent));
      auto made = co_await run_to_end(make_one());
      bool full = !made && made.error().code() == ErrorCode::no_capacity;
      // It may stay full for long.
      if (!made && !(full && full_)) {
        log_error("pool_clone_failed",
                  {{"template", snapshot_->template_name}, {"error", made.error().message()}});
      }
      full_ = full;
      if (!made) co_await sleep_for(kRetry);
    }
    if (ready_.size() >= size_) co_await taken_.wait();
  }
}

Task<Result<void>> WarmPool::make_one() {
  HAKO_CO_TRYV(check_host_room(context_.config));
  auto cloned = co_await Vm::clone(context_, snapshot_);
  if (!cloned) co_return cloned.error();
  auto vm = std::move(cloned).value();
  // A whole identification and a command through the same path as a user's: what these translate
  // and fault in is then there when the clone is claimed.
  boost::json::object no_environment;
  std::string name = "pool";
  Result<void> done = co_await vm->identify(name, std::move(no_environment));
  if (done) {
    GateLink::Command command;
    command.cmd = "/bin/echo";
    command.args = {"warm"};
    auto result =
        co_await context_.gate.exec(vm->record().machine, std::move(command), kPoolWarmTime, 4096);
    // An image need not have the program; what it lacks is simply not warmed.
    if (!result && result.error().code() != ErrorCode::invalid_argument) done = result.error();
  }
  // Programs that the template has started go on when they are somebody's.
  if (done) done = co_await context_.gate.freeze(vm->record().machine);
  if (done) done = co_await vm->machine()->pause();
  if (done) done = vm->update_record([](VmRecord& record) { record.state = VmState::pooled; });
  if (!done) {
    co_await vm->destroy();
    co_return done.error();
  }
  auto share = [&]() -> Result<void> {
    context_.shares.ready(vm->record().machine);
    return ok();
  };
  (void)co_await run_blocking(context_.blocking, share);
  ready_.push_back(std::move(vm));
  made_.notify_all();
  co_return ok();
}

}  // namespace hako::node
