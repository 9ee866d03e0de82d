// Work inside a network namespace, by threads that end afterwards.
#pragma once

#include <optional>
#include <string>
#include <thread>

#include "base/fd.h"

namespace hako::network {

namespace detail {
Result<void> join_namespace(int netns);
Result<void> leave_for_new_namespace();
}  // namespace detail

/// Runs `work` on a thread of its own and waits for it. A namespace is a property of a thread: one
/// that has changed it must never serve anybody else, so it ends here.
/// `enter` is called first on that thread; `work` only when it succeeded.
template <class Enter, class Work>
auto on_own_thread(Enter enter, Work work) -> decltype(work()) {
  std::optional<decltype(work())> result;
  std::thread thread([&] {
    if (Result<void> entered = enter(); !entered)
      result.emplace(entered.error());
    else
      result.emplace(work());
  });
  thread.join();
  return std::move(*result);
}

/// Runs `work` inside `netns`.
template <class Work>
auto in_namespace(int netns, Work work) -> decltype(work()) {
  return on_own_thread([netns] { return detail::join_namespace(netns); }, std::move(work));
}

/// Runs `work` inside a new, empty namespace, which lasts as long as something refers to it.
template <class Work>
auto in_new_namespace(Work work) -> decltype(work()) {
  return on_own_thread([] { return detail::leave_for_new_namespace(); }, std::move(work));
}

/// A descriptor for the calling thread's network namespace.
Result<Fd> current_namespace();

/// Makes `directory` (if missing), as a mount of its own that propagates: whoever copies the mounts
/// later, as every service with private mounts does, then also loses the slots that are unbound
/// here, and does not keep dead namespaces alive. Any number of threads may call it at once.
Result<void> prepare_directory(const std::string& directory);
/// Undoes prepare_directory() when nothing is bound below any more. Missing is success.
Result<void> release_directory(const std::string& directory);

/// Binds `netns` to `path`; what an interrupted run left there is replaced. already_exists if a
/// namespace is bound there.
Result<void> bind_namespace(int netns, const std::string& path);
/// Opens the namespace bound to `path`. not_found if there is none.
Result<Fd> open_namespace(const std::string& path);
/// Missing is success.
Result<void> unbind_namespace(const std::string& path);

}  // namespace hako::network
