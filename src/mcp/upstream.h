// The API that tools work on, as one caller reaches it.
#pragma once

#include <boost/json/value.hpp>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/async/task.h"
#include "http/client.h"

namespace hako::mcp {

/// Everything a tool may do is a request with the caller's own key: what the API refuses them, tools
/// cannot do either.
struct Upstream {
  /// A new connection to the API's own port.
  std::function<Task<Result<http::Client>>()> connect;
  std::string prefix;   ///< before each path, where a reverse proxy has one
  http::Fields fields;  ///< of each request: Host, the key
};

inline constexpr std::chrono::seconds kCallTime{30};   ///< for what is quick
inline constexpr std::chrono::seconds kBoxTime{180};   ///< for what makes, moves or ends boxes
inline constexpr size_t kLargestAnswer = 4 << 20;      ///< bytes

/// Requests of one tool, one after the other. Errors are the API's own words.
class Api {
 public:
  explicit Api(Upstream upstream) : upstream_(std::move(upstream)) {}

  /// Connects anew; for streams, and for what runs beside them.
  Task<Result<http::Client>> connect() { return upstream_.connect(); }
  /// What every request needs besides its own.
  http::Request prepare(http::Verb method, std::string target) const;
  /// One for the daemon of a box, as `user` (empty: the box's own).
  http::Request prepare_for(const std::string& box, const std::string& user, http::Verb method,
                            std::string target) const;

  /// A whole exchange, whatever the status. too_large: the answer is over `most` bytes.
  Task<Result<http::Response>> exchange(http::Request request, Duration limit,
                                        size_t most = kLargestAnswer);
  /// A JSON request to the API, and the answer's body; null for an empty one.
  Task<Result<boost::json::value>> call(http::Verb method, std::string target,
                                        std::optional<boost::json::value> body, Duration limit);
  /// A call of a service in a box: "process.Process/SendSignal".
  Task<Result<boost::json::object>> daemon(std::string box, std::string user, std::string method,
                                           boost::json::object body, Duration limit = kCallTime);

 private:
  Upstream upstream_;
  std::optional<http::Client> kept_;
};

/// The error that a response stands for; its text is for the model, printable and bounded.
Error error_of(unsigned status, std::string_view body);

/// Whether it has the form of a box's id, so that it can go into a path.
bool is_box_id(std::string_view id);

}  // namespace hako::mcp
