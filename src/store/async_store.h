// The store for coroutines.
#pragma once

#include "base/async/task.h"
#include "store/store.h"

namespace hako::store {

/// Runs the calls of a Store one after another on a thread of its own. Calls are not cancelled:
/// whoever awaits one waits until it is done (milliseconds; 5 s at worst, behind a lock).
/// Errors: those of the store; unavailable when kMostWaiting calls wait already.
/// Thread: one executor. No call may be running when this object goes.
class AsyncStore {
 public:
  static constexpr size_t kMostWaiting = 1024;

  explicit AsyncStore(std::unique_ptr<Store> store) : store_(std::move(store)) {}
  ~AsyncStore();

  Task<Result<void>> add_sandbox(SandboxRecord record);
  /// `admit` runs on the store's thread; it must own what it uses.
  Task<Result<void>> add_sandbox_if(SandboxRecord record, Store::Admission admit);
  Task<Result<void>> set_running(std::string id, Started started);
  Task<Result<void>> move_state(std::string id, SandboxState from, SandboxState to);
  Task<Result<void>> set_paused(std::string id, Paused paused);
  Task<Result<void>> set_resumed(std::string id, Started started, int64_t ends_ms);
  Task<Result<void>> set_end(std::string id, int64_t ends_ms);
  Task<Result<void>> set_egress(std::string id, SandboxEgress egress);
  Task<Result<bool>> remove_sandbox(std::string id);
  Task<Result<std::optional<SandboxRecord>>> find_sandbox(std::string id);
  Task<Result<std::vector<SandboxRecord>>> all_sandboxes();
  Task<Result<std::vector<SandboxRecord>>> list_sandboxes(SandboxQuery query);
  Task<Result<int64_t>> count_sandboxes(SandboxQuery query);

  /// Runs `work(TemplateStore&)`, which returns a Result, as one of the calls. It must own what it
  /// uses, and be a named object when the task is awaited.
  template <class Work>
  auto with_templates(Work work)
      -> Task<decltype(work(std::declval<TemplateStore&>()))> {
    auto call = [this, work = std::move(work)]() mutable { return work(store_->templates()); };
    return on_thread(std::move(call));
  }

  /// As with_templates(), for `work(TenantStore&)`.
  template <class Work>
  auto with_tenants(Work work) -> Task<decltype(work(std::declval<TenantStore&>()))> {
    auto call = [this, work = std::move(work)]() mutable { return work(store_->tenants()); };
    return on_thread(std::move(call));
  }

  /// As with_templates(), for `work(Store&)`: what must be one step in several of its parts.
  template <class Work>
  auto with_all(Work work) -> Task<decltype(work(std::declval<Store&>()))> {
    auto call = [this, work = std::move(work)]() mutable { return work(*store_); };
    return on_thread(std::move(call));
  }

  /// As with_templates(), for `work(SnapshotStore&)`.
  template <class Work>
  auto with_snapshots(Work work) -> Task<decltype(work(std::declval<SnapshotStore&>()))> {
    auto call = [this, work = std::move(work)]() mutable { return work(store_->snapshots()); };
    return on_thread(std::move(call));
  }

  /// As with_templates(), for `work(ModelStore&)`.
  template <class Work>
  auto with_models(Work work) -> Task<decltype(work(std::declval<ModelStore&>()))> {
    auto call = [this, work = std::move(work)]() mutable { return work(store_->models()); };
    return on_thread(std::move(call));
  }

  /// As with_templates(), for `work(SecretStore&)`.
  template <class Work>
  auto with_secrets(Work work) -> Task<decltype(work(std::declval<SecretStore&>()))> {
    auto call = [this, work = std::move(work)]() mutable { return work(store_->secrets()); };
    return on_thread(std::move(call));
  }

  /// As with_templates(), for `work(LinkStore&)`.
  template <class Work>
  auto with_links(Work work) -> Task<decltype(work(std::declval<LinkStore&>()))> {
    auto call = [this, work = std::move(work)]() mutable { return work(store_->links()); };
    return on_thread(std::move(call));
  }

 private:
  template <class Work>
  auto on_thread(Work work) -> Task<decltype(work())> {
    if (waiting_ >= kMostWaiting) {
      co_return Error(ErrorCode::unavailable, "too many requests at once");
    }
    struct Count {
      explicit Count(size_t& n) : n_(n) { ++n_; }
      ~Count() { --n_; }
      size_t& n_;
    } count(waiting_);
    co_return co_await run_blocking(thread_, work);
  }

  std::unique_ptr<Store> store_;
  asio::thread_pool thread_{1};
  size_t waiting_ = 0;
};

}  // namespace hako::store
