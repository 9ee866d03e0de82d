// Tells the audit log what happens: calls of the API, what becomes of sandboxes, and what the gate
// tells of them.
#pragma once

#include <boost/json.hpp>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/access_record.h"
#include "api/audit_bounds.h"
#include "api/egress_log.h"
#include "api/principal.h"
#include "api/router.h"
#include "audit/log.h"
#include "audit/reader.h"
#include "config/config.h"
#include "http/message.h"

namespace hako::api {

/// One call, as far as its record needs it. Filled while it is answered.
struct CallFacts {
  std::string request;  ///< X-Request-Id
  std::string source;   ///< the caller's address
  bool known = false;   ///< whether whoever calls has shown who they are
  std::string actor, user, tenant, agent;
  std::string clearance;  ///< the highest label of what the caller may have had in hand
  /// Names of the members of a body that changes something, never their values: "policy.egress".
  std::string fields;
  void is_by(const Principal& who);
};

/// Thread: one executor.
class AuditTrail {
 public:
  /// Records of callers that nobody knows, per second; further ones are counted.
  static constexpr int kMostUnknown = 10;
  static constexpr size_t kMostBoxes = 16384;

  /// Opens the log. Errors: those of audit::Log::open(). Blocking.
  static Result<std::unique_ptr<audit::Log>> open_log(const config::Config& config);
  AuditTrail(const config::Config& config, std::unique_ptr<audit::Log> log);

  /// Whether a call may begin: nothing is changed that could not be told of. unavailable.
  Result<void> may_begin(const Match& match, const http::RequestHead& head) const;
  /// Returns when the record is written; the answer may be given then. unavailable: it cannot be
  /// written.
  Task<Result<void>> called(const http::RequestHead& head, const Match& match, CallFacts facts,
                            const http::Response& response);

  // What has happened already.

  /// A sandbox that there is: whose it is, and how confidential. Called for all of them at the
  /// start, and whenever one is made or its label has risen.
  void knows(const store::SandboxRecord& record);
  void made(const store::SandboxRecord& record);
  /// Something that is no end: "paused" is told as "box.paused".
  void changed(const store::SandboxRecord& record, const std::string& what);
  void gone(const std::string& box, const std::string& reason, const std::string& detail);
  void label_raised(const store::SandboxRecord& record, policy::Label from, const Principal& who);
  void egress(const std::string& box, const EgressRecord& record);
  void access(const std::string& box, const AccessRecord& record);
  /// A request for a box that was turned away at the API's own port.
  void turned_away(const http::RequestHead& head, std::string source, const Error& error);

  /// Tells of those that were only counted. Until cancelled.
  Task<void> run();
  /// Looks at all that was in the log when it was opened, and tells the log, and that of the
  /// process, of what does not fit. Takes a second or so for each 64 MiB, on a thread that gives
  /// way to others. Cancel: it ends after stop().
  Task<void> verify();
  /// The last that it has to tell of its own.
  void stop();

  /// audit::read_page() on a thread of its own.
  Task<Result<audit::Page>> read(audit::Query query);
  audit::Log& log() { return *log_; }
  asio::thread_pool& reading() { return reading_; }

 private:
  struct Box {
    std::string tenant, agent, label;
    int64_t started_ms = 0;
  };
  audit::Record about(const std::string& box) const;
  /// When the gate says that it happened, within what can be.
  void set_time(audit::Record& record, int64_t told_ms) const;
  /// What a caller whom nobody knows has done, if it may have a record of its own.
  bool admit_unknown(const audit::Record& record);
  void tell_of_box(audit::Record record);
  void tell_left_out(bool all);

  const config::Config& config_;
  std::unique_ptr<audit::Log> log_;
  std::map<std::string, Box> boxes_;
  std::vector<std::string> ended_;  ///< in their order; forgotten when there are too many
  AuditBounds bounds_;
  int unknown_ = 0;  ///< in this second
  const int64_t opened_at_;  ///< the last record then
  std::atomic<bool> stopping_ = false;
  asio::thread_pool reading_{1};
  asio::thread_pool verifying_{1};
};

/// Names of the members of a JSON body, bounded; of those that hold rules, of their members:
/// "name, policy.egress". Never a value.
std::string names_in_body(const std::string& body);

/// "operator", "key k1", "token k1.ab12", "nobody": as records name them.
std::string actor_of(const Principal& who);
/// The same of what the gate says: "k1", "k1.ab12", "api", or nothing.
std::string actor_of_key(std::string_view key);

}  // namespace hako::api
