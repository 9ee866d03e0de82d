// Inside src/http only: the connections of a server, and which of them gives way when it is full.
#pragma once

#include <list>
#include <memory>

#include "base/async/task_group.h"

namespace hako::http::detail {

/// Thread: one executor.
class Seats {
 public:
  /// One connection's, for as long as it is served. It may outlive the Seats.
  class Seat {
   public:
    explicit Seat(Seats& seats);
    ~Seat();
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;

    /// What serves it.
    void is_of(TaskGroup::Handle task) { task_ = std::move(task); }
    /// A request is being handled, or no longer.
    void set_busy(bool busy) { busy_ = busy; }
    /// A handler knows who it is.
    void vouch() { known_ = true; }

   private:
    friend class Seats;
    std::shared_ptr<std::list<Seat*>> all_;
    std::list<Seat*>::iterator place_;
    TaskGroup::Handle task_;
    bool busy_ = false, known_ = false;
  };

  /// How many are taken; one that had to give way is none.
  size_t taken() const { return all_->size(); }
  /// Cancels what serves the connection that can best be spared, of those the one that came first:
  /// a stranger's without a request, a stranger's with one, one of somebody known without a
  /// request. False if there is none.
  bool free_one();

 private:
  /// In the order in which they came.
  std::shared_ptr<std::list<Seat*>> all_ = std::make_shared<std::list<Seat*>>();
};

}  // namespace hako::http::detail
