// The Model Context Protocol over HTTP ("streamable HTTP"), at /mcp.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/router.h"
#include "base/async/task_group.h"
#include "http/server.h"
#include "mcp/server.h"

namespace hako::api {

/// Tools do nothing but make requests to this API with the caller's own key, over connections inside
/// this process: so they may do what the caller may, and each is judged, counted and recorded as if
/// it had come from outside. Thread: one executor.
class McpEndpoint {
 public:
  /// Tools at work at once: of all, and of one tenant.
  static constexpr size_t kMostCalls = 256, kMostCallsOfTenant = 32;
  /// Answers that clients have not read yet, bytes, all together; beyond it an answer is an error.
  static constexpr size_t kMostUnread = 32 << 20;

  explicit McpEndpoint(asio::any_io_executor executor);
  /// By whom requests of tools are answered. Before the first request.
  void answer_by(http::Handler handler) { handler_ = std::move(handler); }

  /// One message. `secret`: of this api, behind the ids of sessions.
  Task<http::Response> post(const Call& call, const std::string& secret);
  /// Ends what a session has under way.
  http::Response remove(const Call& call, const std::string& secret);
  /// Ends all that goes on. What runs in boxes goes on.
  Task<void> stop();

 private:
  struct Stream;
  class Working;

  mcp::Upstream upstream_of(const Call& call);
  Task<Result<http::Client>> connect(std::string source, bool encrypted);
  http::Response begin_call(const Call& call, mcp::Message message, std::string session);
  Task<void> run_call(std::shared_ptr<Stream> stream, std::shared_ptr<Working> working,
                      mcp::Message message, std::string session, mcp::Upstream upstream);

  TaskGroup connections_, calls_;
  http::Handler handler_;
  mcp::Server server_;
  std::map<std::string, size_t> working_;  ///< by tenant
  size_t all_working_ = 0;
  std::shared_ptr<size_t> unread_ = std::make_shared<size_t>(0);  ///< bytes
};

}  // namespace hako::api
