// The real API server on a port of its own, with a stand-in for the node on a real socket.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/async/task_group.h"
#include "http/client.h"
#include "policy/egress.h"
#include "rpc/peer.h"

namespace hako::test {

namespace json = boost::json;

/// Answers as the node does, boxes being entries of a map. Stands in for it where failures are
/// wanted that a real node is hard to bring to.
class FakeNode {
 public:
  using Answer = Result<json::object>;

  FakeNode(asio::io_context& loop, std::string socket_path);

  void start();
  /// Ends all connections and stops listening.
  Task<void> stop();
  /// Tells every API that a box is gone.
  void tell_gone(std::string box, std::string reason, std::string detail = {});
  /// A box comes to its end: it is paused if it is to be, else it expires.
  void expire(const std::string& box);
  void tell_egress(std::string box, json::array records);
  void tell_access(std::string box, json::array records);
  /// What it was last told may go out of a box.
  policy::EgressPolicy policy_of(const std::string& box) const;

  /// Called before the usual answer; what it returns is the answer.
  std::function<std::optional<Answer>(const std::string& method, const json::object& body)> before;
  /// Called after box.create has made the box, before it answers.
  std::function<void()> created;
  std::map<std::string, json::object> boxes;
  std::map<std::string, json::object> checkpoints;  ///< as checkpoint.list tells of them
  std::set<std::string> damaged;  ///< checkpoints that are not what was written
  bool keeps_checkpoints = true;  ///< false: a node of before
  std::vector<std::string> calls;  ///< methods, in order
  json::object last_create;
  std::map<std::string, json::object> egress;  ///< the last create or box.egress of each box
  std::string isolation = "emulated";
  std::set<std::string> templates{"base"};
  Duration create_takes{0};  ///< before box.create is looked at
  std::vector<json::object> begun;  ///< what build.begin was asked, in order
  bool hold_builds = false;         ///< build.begin is not answered while this is set
  Answer certificate = Error(ErrorCode::not_found, "no certificate");  ///< to api.certificate

 private:
  Task<void> serve(Fd connection, uid_t uid);
  void tell_records(const char* message, const std::string& box, const json::array& records);
  Task<Result<rpc::Payload>> answer(std::string method, rpc::Payload payload);
  Answer usual_answer(const std::string& method, const json::object& body);
  /// Makes a box as box.create and box.fork describe it.
  Answer make_box(const json::object& body);
  void make_checkpoint(const json::object& box, const std::string& checkpoint, bool memory);
  Answer answer_of_checkpoints(const std::string& method, const json::object& body);

  asio::io_context& loop_;
  std::string path_;
  std::unique_ptr<TaskGroup> tasks_;
  std::vector<std::weak_ptr<rpc::Peer>> peers_;
};

/// An answer to a request.
struct Reply {
  unsigned status = 0;
  http::Fields fields;
  json::value body;  ///< null if empty
  std::string message() const;
};

/// Whether the gate was told in `ingress` to take this token for the action.
bool takes(const json::object& ingress, const json::value& token, std::string_view action);

/// Folders, configuration, API and node of one test.
class ApiLab {
 public:
  ApiLab();
  ~ApiLab();

  /// Prepares the state and starts the API; returns when it listens. False if it ended instead.
  Task<bool> start_api();
  Task<void> stop_api();
  /// Starts both and waits until they are connected.
  Task<void> start();
  Task<void> stop();

  Task<Reply> ask(http::Verb method, std::string target, std::string body = {});
  Task<Reply> ask_with_key(http::Verb method, std::string target, std::string body,
                           std::string key);
  /// The operator's key, acting in a tenant.
  Task<Reply> ask_in(std::string tenant, http::Verb method, std::string target,
                     std::string body = {});
  /// The id of a new sandbox.
  Task<std::string> create(std::string body = R"({"templateID":"base"})");
  /// Waits until `holds`; false after ten seconds.
  static Task<bool> eventually(std::function<bool()> holds);
  Task<bool> eventually_status(std::string target, unsigned status);

  asio::io_context loop;
  config::Config config;
  FakeNode node;
  std::optional<Result<void>> outcome;  ///< of the API, once it has ended
  std::string key;
  uint16_t port = 0;

 private:
  Task<void> run_api();
  Task<Reply> send(http::Verb method, std::string target, std::string body, http::Fields fields);

  std::unique_ptr<TaskGroup> api_tasks_;
};

}  // namespace hako::test
