// The watches that clients have asked for: how many there may be, and those that are polled.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/async/task_group.h"
#include "guest/users.h"
#include "guest/watch.h"

namespace hako::guest {

/// Says when a watch has something to collect.
class WatchSignal {
 public:
  /// Errors: those of duplicating a descriptor.
  static Result<WatchSignal> of(asio::any_io_executor executor, const Watch& watch);

  /// False after `limit` without anything. Cancel: safe.
  Task<bool> wait(Duration limit);
  /// Waits without a limit, or until close().
  Task<bool> wait();
  void close();

 private:
  using Descriptor = asio::posix::stream_descriptor;
  explicit WatchSignal(std::shared_ptr<Descriptor> descriptor)
      : descriptor_(std::move(descriptor)) {}

  std::shared_ptr<Descriptor> descriptor_;  ///< a duplicate: the watch keeps its own
};

/// Appends one event as a JSON object, with names for its owners.
void append_watch_event(std::string& out, WatchEvent& event, UserDatabase& users);

/// Thread: all calls on the executor's, except what runs in `threads`.
class Watchers {
 public:
  Watchers(asio::any_io_executor executor, UserDatabase& users)
      : executor_(executor), users_(users), tasks_(executor) {}

  /// A place among the watches there may be, given back at its end.
  class Place {
   public:
    explicit Place(Watchers& watchers) : watchers_(&watchers) { ++watchers_->places_; }
    Place(Place&& other) noexcept : watchers_(std::exchange(other.watchers_, nullptr)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (watchers_) --watchers_->places_;
    }

   private:
    Watchers* watchers_;
  };
  /// resource_exhausted.
  Result<Place> take_place();

  /// Starts collecting the events of `watch` for take_events(); its id.
  Result<std::string> add(std::shared_ptr<Watch> watch, Place place, asio::thread_pool& threads);
  /// {"events":[...]}: those since the last call. not_found: no such watcher, or its folder has
  /// gone and all has been told. corrupted: events were lost; the watcher tells nothing more.
  Result<std::string> take_events(const std::string& id);
  /// not_found.
  Result<void> remove(const std::string& id);
  Task<void> stop() { return tasks_.stop(); }

 private:
  struct Polled {
    Polled(std::shared_ptr<Watch> watch, WatchSignal signal, Place place)
        : watch(std::move(watch)), signal(std::move(signal)), place(std::move(place)) {}
    std::shared_ptr<Watch> watch;  ///< none once it has ended or failed
    WatchSignal signal;
    Place place;
    std::string events;  ///< JSON objects with commas between them
    Result<void> outcome = ok();
    bool removed = false;
  };

  Task<void> collect(std::shared_ptr<Polled> polled, asio::thread_pool& threads);
  void keep(Polled& polled, std::vector<WatchEvent>& events);

  asio::any_io_executor executor_;
  UserDatabase& users_;
  TaskGroup tasks_;
  std::map<std::string, std::shared_ptr<Polled>> polled_;
  size_t places_ = 0;
  size_t kept_bytes_ = 0;
  uint64_t last_id_ = 0;
};

}  // namespace hako::guest
