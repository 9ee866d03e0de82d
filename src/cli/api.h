// Talking to the API: where it is, with which key, over connections that are kept.
#pragma once

#include <boost/json.hpp>

#include <memory>
#include <optional>
#include <string>

#include "cli/endpoint.h"
#include "cli/options.h"
#include "config/config.h"
#include "http/client.h"

namespace hako::cli {

/// How long one ordinary request may take, and one that makes or ends a box.
inline constexpr std::chrono::seconds kRequestTime{30};
inline constexpr std::chrono::seconds kBoxTime{120};

/// A new connection to `endpoint`, which has shown whom it is where it is secure.
Task<Result<http::Client>> connect_to(Endpoint endpoint);

/// A keep-alive connection to one origin, opened when first needed. One request at a time.
class Connection {
 public:
  explicit Connection(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}

  /// A whole request and response. A request on a kept connection that turns out to be dead is
  /// sent once more on a new one when that is safe (not for POST). Errors as http::Client's,
  /// timed_out; `refused` in is_refused() when nobody listens.
  Task<Result<http::Response>> exchange(http::Request request, Duration limit = kRequestTime);
  /// The connected client, for streaming; valid until the next call here.
  Task<Result<http::Client*>> client();
  /// Forgets the connection: its state is unknown.
  void drop() { client_.reset(); }
  const Endpoint& endpoint() const { return endpoint_; }

 private:
  Endpoint endpoint_;
  std::optional<http::Client> client_;
};

/// Everything needed to reach the API.
struct ApiAccess {
  Endpoint endpoint;
  std::string key;
  std::string tenant = {};  ///< empty: the key's own
};

/// The configuration the options name.
Result<config::Config> load_config(const GlobalOptions& options);
/// From --api-url, HAKO_API_URL, E2B_API_URL or the configuration; the key from HAKO_API_KEY,
/// E2B_API_KEY or the key file. Errors say where was looked and what to do.
Result<ApiAccess> find_api(const GlobalOptions& options);

/// Takes the next piece of what is downloaded.
using ByteTaker = std::function<Result<void>(std::string_view piece)>;

/// The control plane, over one connection. Errors are written for the user.
class Api {
 public:
  explicit Api(ApiAccess access);

  /// A JSON request. The answer's body, or null for an empty one.
  Task<Result<boost::json::value>> call(http::Verb method, std::string target,
                                        std::optional<boost::json::value> body = std::nullopt,
                                        Duration limit = kRequestTime);
  /// The same with the answer's head, for what is told in headers.
  Task<Result<http::Response>> request(http::Verb method, std::string target,
                                       std::optional<boost::json::value> body, Duration limit);
  /// A body of any size, piece by piece. Errors of `take` end it.
  Task<Result<void>> download(std::string target, ByteTaker take, Duration limit);
  const Endpoint& endpoint() const { return connection_.endpoint(); }
  const ApiAccess& access() const { return access_; }

 private:
  Task<Result<void>> download_now(std::string target, ByteTaker take);

  ApiAccess access_;
  Connection connection_;
};

/// The error for a response that is not a success: the server's own words where it has any.
Error api_error(const Endpoint& endpoint, const http::Response& response);
/// A transport failure, told so that the user knows what to do.
Error unreachable(const Endpoint& endpoint, const Error& cause);

/// Members of an answer; empty or 0 when absent or of another type. Answers come from a server,
/// so nothing about them is taken for granted.
std::string text_member(const boost::json::value& object, std::string_view name);
int64_t number_member(const boost::json::value& object, std::string_view name);

}  // namespace hako::cli
