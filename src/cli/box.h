// One box as the command line reaches it: the daemon inside, through the gate or the API.
#pragma once

#include <memory>
#include <string>

#include "cli/api.h"
#include "wire/filesystem.h"

namespace hako::cli {

/// Who a box is and how its daemon is addressed.
struct BoxAccess {
  std::string id;
  std::string token;  ///< empty where the box has none
  Endpoint data;      ///< where requests for the daemon go, routed by their headers
};

/// Whether `id` has the form of a box's id. Checked before it goes into a path.
bool is_box_id(std::string_view id);

/// The gate that an answer of /v1/info names to whoever reaches the API at `api`, if it may be used.
/// One on loopback is only believed when the API is on loopback too: elsewhere it would be some
/// other program of this machine. A plain one elsewhere is not used where the API is https.
std::optional<Endpoint> named_gate(const boost::json::value& info, const Endpoint& api);

/// Where data-plane requests go: the gate the API names, if it answers and proves to be it, else the
/// API. Never fails: asking is an optimisation.
Task<Endpoint> find_data_endpoint(ApiAccess access);

/// What to tell of a box that the API has answered 404 for; why it ended, where the API has said so.
Error missing_box(const std::string& id, const Error& answer);
/// Looks up a running box. not_found in the user's words.
Task<Result<BoxAccess>> find_box(Api& api, std::string id);

/// The box of an answer to create or get.
Result<BoxAccess> box_from_answer(const boost::json::value& answer, Endpoint data);

/// A request to the daemon in `box` as `user` (empty: the box's default user).
http::Request box_request(const BoxAccess& box, const std::string& user, http::Verb method,
                          std::string target, std::string_view content_type);

/// Unary calls to the daemon, over one connection.
class BoxClient {
 public:
  BoxClient(BoxAccess box, std::string user)
      : box_(std::move(box)), user_(std::move(user)), connection_(box_.data) {}

  /// `method`: "process.Process/SendInput". `body`: JSON text. Errors: the daemon's.
  Task<Result<boost::json::object>> call(std::string method, std::string body,
                                         Duration limit = kRequestTime);
  /// The entry at `path`, or nothing.
  Task<Result<std::optional<wire::EntryInfo>>> stat(std::string path);
  /// mkdir -p; the absolute path.
  Task<Result<std::string>> make_directory(std::string path);

  const BoxAccess& box() const { return box_; }
  const std::string& user() const { return user_; }
  Connection& connection() { return connection_; }

 private:
  BoxAccess box_;
  std::string user_;
  Connection connection_;
};

/// The daemon's error for a response that is not a success, or the gate's.
Error box_error(const BoxAccess& box, unsigned status, std::string_view body);

}  // namespace hako::cli
