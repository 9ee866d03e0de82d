#include "store/async_store.h"

namespace hako::store {

AsyncStore::~AsyncStore() {
  thread_.join();
}

// The functions below are no coroutines themselves: they hand a named closure over, by value, to
// one that keeps it until the work is done.

Task<Result<void>> AsyncStore::add_sandbox(SandboxRecord record) {
  auto work = [this, record = std::move(record)] { return store_->add_sandbox(record); };
  return on_thread(std::move(work));
}

Task<Result<void>> AsyncStore::add_sandbox_if(SandboxRecord record, Store::Admission admit) {
  auto work = [this, record = std::move(record), admit = std::move(admit)] {
    return store_->add_sandbox_if(record, admit);
  };
  return on_thread(std::move(work));
}

Task<Result<void>> AsyncStore::set_running(std::string id, Started started) {
  auto work = [this, id = std::move(id), started = std::move(started)] {
    return store_->set_running(id, started);
  };
  return on_thread(std::move(work));
}

Task<Result<void>> AsyncStore::move_state(std::string id, SandboxState from, SandboxState to) {
  auto work = [this, id = std::move(id), from, to] { return store_->move_state(id, from, to); };
  return on_thread(std::move(work));
}

Task<Result<void>> AsyncStore::set_paused(std::string id, Paused paused) {
  auto work = [this, id = std::move(id), paused] { return store_->set_paused(id, paused); };
  return on_thread(std::move(work));
}

Task<Result<void>> AsyncStore::set_resumed(std::string id, Started started, int64_t ends_ms) {
  auto work = [this, id = std::move(id), started = std::move(started), ends_ms] {
    return store_->set_resumed(id, started, ends_ms);
  };
  return on_thread(std::move(work));
}

Task<Result<void>> AsyncStore::set_end(std::string id, int64_t ends_ms) {
  auto work = [this, id = std::move(id), ends_ms] { return store_->set_end(id, ends_ms); };
  return on_thread(std::move(work));
}

Task<Result<void>> AsyncStore::set_egress(std::string id, SandboxEgress egress) {
  auto work = [this, id = std::move(id), egress = std::move(egress)] {
    return store_->set_egress(id, egress);
  };
  return on_thread(std::move(work));
}

Task<Result<bool>> AsyncStore::remove_sandbox(std::string id) {
  auto work = [this, id = std::move(id)] { return store_->remove_sandbox(id); };
  return on_thread(std::move(work));
}

Task<Result<std::optional<SandboxRecord>>> AsyncStore::find_sandbox(std::string id) {
  auto work = [this, id = std::move(id)] { return store_->find_sandbox(id); };
  return on_thread(std::move(work));
}

Task<Result<std::vector<SandboxRecord>>> AsyncStore::all_sandboxes() {
  auto work = [this] { return store_->all_sandboxes(); };
  return on_thread(std::move(work));
}

Task<Result<std::vector<SandboxRecord>>> AsyncStore::list_sandboxes(SandboxQuery query) {
  auto work = [this, query = std::move(query)] { return store_->list_sandboxes(query); };
  return on_thread(std::move(work));
}

Task<Result<int64_t>> AsyncStore::count_sandboxes(SandboxQuery query) {
  auto work = [this, query = std::move(query)] { return store_->count_sandboxes(query); };
  return on_thread(std::move(work));
}

}  // namespace hako::store
