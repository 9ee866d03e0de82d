#include "guest/watchers.h"

#include <fcntl.h>

#include <cerrno>

namespace hako::guest {
namespace {

constexpr size_t kMostWatches = 256;
/// Events that wait to be fetched, as JSON.
constexpr size_t kMostKeptOfOne = 4 << 20;
constexpr size_t kMostKept = 16 << 20;

}  // namespace

Result<WatchSignal> WatchSignal::of(asio::any_io_executor executor, const Watch& watch) {
  int duplicate = ::fcntl(watch.descriptor(), F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) return Error::from_errno(errno, "watch");
  return WatchSignal(std::make_shared<Descriptor>(executor, duplicate));
}

Task<bool> WatchSignal::wait() {
  auto descriptor = descriptor_;
  boost::system::error_code error;
  if (!descriptor->is_open()) co_return false;
  co_await descriptor->async_wait(Descriptor::wait_read,
                                  asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

Task<bool> WatchSignal::wait(Duration limit) {
  using namespace asio::experimental::awaitable_operators;
  auto ready = wait();
  auto late = sleep_for(limit);
  auto first = co_await (std::move(ready) || std::move(late));
  co_return first.index() == 0 && std::get<0>(first);
}

void WatchSignal::close() {
  boost::system::error_code ignored;
  descriptor_->close(ignored);
}

void append_watch_event(std::string& out, WatchEvent& event, UserDatabase& users) {
  const wire::EntryInfo* entry = nullptr;
  if (event.entry) {
    event.entry->info.owner = users.user_name(event.entry->uid);
    event.entry->info.group = users.group_name(event.entry->gid);
    entry = &event.entry->info;
  }
  wire::append_file_event(out, event.name, event.type, entry);
}

Result<Watchers::Place> Watchers::take_place() {
  if (places_ >= kMostWatches) return Error(ErrorCode::resource_exhausted, "too many watches");
  return Place(*this);
}

Result<std::string> Watchers::add(std::shared_ptr<Watch> watch, Place place,
                                  asio::thread_pool& threads) {
  HAKO_TRY(auto signal, WatchSignal::of(executor_, *watch));
  auto polled = std::make_shared<Polled>(std::move(watch), std::move(signal), std::move(place));
  std::string id = "w" + std::to_string(++last_id_);
  polled_.emplace(id, polled);
  tasks_.spawn("watcher", collect(std::move(polled), threads));
  return id;
}

Task<void> Watchers::collect(std::shared_ptr<Polled> polled, asio::thread_pool& threads) {
  std::vector<WatchEvent> events;
  auto watch = polled->watch;
  auto work = [&] { return watch->collect(events); };
  for (;;) {
    bool news = co_await polled->signal.wait();
    if (!news || polled->removed) break;
    auto collected = co_await run_blocking(threads, work);
    if (polled->removed) break;
    keep(*polled, events);
    events.clear();
    if (!collected) polled->outcome = std::move(collected);
    if (!polled->outcome || watch->ended()) break;
  }
  // What the kernel keeps for it is freed; what has been kept here can still be fetched.
  polled->signal.close();
  polled->watch.reset();
}

void Watchers::keep(Polled& polled, std::vector<WatchEvent>& events) {
  size_t before = polled.events.size();
  for (auto& event : events) {
    if (!polled.events.empty()) polled.events += ',';
    append_watch_event(polled.events, event, users_);
  }
  kept_bytes_ += polled.events.size() - before;
  if (polled.events.size() <= kMostKeptOfOne && kept_bytes_ <= kMostKept) return;
  kept_bytes_ -= polled.events.size();
  polled.events = std::string();
  polled.outcome =
      Error(ErrorCode::corrupted, "too many events were waiting to be fetched: events were lost");
}

Result<std::string> Watchers::take_events(const std::string& id) {
  auto found = polled_.find(id);
  if (found == polled_.end())
    return Error(ErrorCode::not_found, "watcher with id " + id + " not found");
  Polled& polled = *found->second;
  if (polled.events.empty()) {
    if (!polled.outcome) return polled.outcome.error();
    if (!polled.watch) return Error(ErrorCode::not_found, "the watched directory has gone");
  }
  kept_bytes_ -= polled.events.size();
  std::string body = "{\"events\":[" + polled.events + "]}";
  polled.events = std::string();
  return body;
}

Result<void> Watchers::remove(const std::string& id) {
  auto found = polled_.find(id);
  if (found == polled_.end())
    return Error(ErrorCode::not_found, "watcher with id " + id + " not found");
  auto polled = found->second;
  polled_.erase(found);
  kept_bytes_ -= polled->events.size();
  polled->removed = true;
  polled->signal.close();
  return ok();
}

}  // namespace hako::guest
