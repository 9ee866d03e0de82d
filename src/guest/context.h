// What the request handlers of the daemon share.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/async/task.h"
#include "guest/freezer.h"
#include "guest/identity.h"
#include "guest/processes.h"
#include "guest/users.h"
#include "guest/watchers.h"
#include "http/server.h"

namespace hako::guest {

struct Settings {
  bool owns_machine = false;  ///< PID 1 of a machine, as opposed to a daemon under test
  bool change_user = true;    ///< false where the daemon is not root
  std::string host_address;   ///< whose POST /init is taken, and who may use the relay
  uint16_t relay_port = 0;    ///< of the way to the loopback address; 0 for none
  std::string groups;         ///< the control groups of all programs; empty: none are frozen
};

/// Threads for calls that may block, started when first needed.
class BlockingPool {
 public:
  asio::thread_pool& threads() {
    if (!threads_) threads_.emplace(kThreads);
    return *threads_;
  }

 private:
  static constexpr size_t kThreads = 2;
  std::optional<asio::thread_pool> threads_;
};

struct Context {
  explicit Context(asio::any_io_executor executor, Settings chosen)
      : settings(std::move(chosen)),
        identity(settings.owns_machine),
        freezer(settings.groups, settings.owns_machine ? "/" : ""),
        processes(executor, {}),
        watchers(executor, users) {}

  Settings settings;
  Identity identity;
  Freezer freezer;
  UserDatabase users;
  ProcessTable processes;
  Watchers watchers;
  BlockingPool blocking;
};

/// The user called `name`, or the default one when it is empty. unauthenticated.
Result<User> find_user(Context& context, std::string_view name);
/// The user in a request's Basic credentials (the password is not looked at), or the default one.
Result<User> user_of_request(Context& context, const http::RequestHead& head);

/// The HTTP status of an error of the REST paths.
unsigned rest_status(const Error& error);
/// Lets pages of any origin read the response, where the request comes from one.
void allow_origin(const http::RequestHead& head, http::Fields& fields);
/// Sends `response` with the headers above. False when the client has gone.
Task<bool> send(http::Exchange& exchange, http::Response response);
Task<bool> send_json(http::Exchange& exchange, unsigned status, std::string body);
/// {"code","message"}.
Task<bool> send_error(http::Exchange& exchange, unsigned status, std::string_view message);

}  // namespace hako::guest
