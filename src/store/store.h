// What the API remembers: tenants, keys, sandbox records, snapshots, templates, links
// and secrets.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/links.h"
#include "store/models.h"
#include "store/secrets.h"
#include "store/snapshots.h"
#include "store/tenants.h"
#include "store/templates.h"

namespace hako::store {

enum class SandboxState {
  starting,  ///< the node was (or is about to be) asked for it; nobody has been told of it yet
  running,
  pausing,   ///< it runs, and the node was (or is about to be) asked to save and end it
  paused,    ///< its state is in a checkpoint at the node, and it takes no memory and no CPU
  resuming,  ///< as paused, and the node was (or is about to be) asked to go on with it
};
std::string_view to_string(SandboxState state);

/// One sandbox. Its environment is not stored: it may hold secrets and the guest has it.
/// Times are Unix milliseconds, sizes MiB.
struct SandboxRecord {
  std::string id;
  std::string template_name;
  std::string alias;  ///< a second name of the template, or empty
  SandboxState state = SandboxState::starting;
  int64_t started_ms = 0;
  int64_t ends_ms = 0;
  std::string metadata;      ///< a JSON object of texts; empty if none was given
  std::string access_token;  ///< what the guest wants to see; empty for an open one
  int vcpus = 0;
  int memory_mib = 0;
  int disk_mib = 0;
  std::string isolation;  ///< "hardware" or "emulated", as the node says
  std::string key_id;     ///< which key created it
  std::string options;    ///< JSON that only the API reads; empty for none
  /// What requests for ports other than the daemon's must show; empty if they are open.
  std::string traffic_token;
  std::string label = "public";  ///< how confidential what it holds is
  std::string egress;            ///< JSON of the policy in force; empty: nothing goes out
  std::string tenant = kDefaultTenant;
  std::string agent;                 ///< the path of the agent it is for; empty: the whole tenant's
  std::vector<std::string> budgets;  ///< what it counts against besides its tenant's quota
  /// JSON that only the API reads: which tokens the gate takes for it, and what each is good for.
  std::string grants;
  /// How often it has been paused. Each time has a checkpoint of its own: while it is paused or
  /// resuming, its state is in the one of this number; while it runs, the next makes one more.
  int pauses = 0;
  bool with_memory = true;  ///< whether that checkpoint holds its memory

  bool operator==(const SandboxRecord&) const = default;
};

/// What the node says about a sandbox that has started.
struct Started {
  int64_t started_ms = 0;
  int vcpus = 0;
  int memory_mib = 0;
  int disk_mib = 0;
  std::string isolation;
};

/// How a sandbox has been paused. SandboxRecord says more.
struct Paused {
  int pauses = 0;
  bool with_memory = true;
  int64_t ends_ms = 0;  ///< when that was
};

/// Who may take what out of a sandbox, and where it goes; changed together.
struct SandboxEgress {
  std::string label;
  std::string options;
  std::string egress;
  std::string traffic_token;
  std::string grants;
};

enum class Order { newest_first, oldest_first };

/// A position in a list: behind this record.
struct Position {
  int64_t started_ms = 0;
  std::string id;
};

/// Which sandboxes to list. Running ones with ends_ms <= alive_at_ms are left out.
struct SandboxQuery {
  bool running = true;
  bool paused = false;  ///< also those that are being paused or resumed
  int64_t alive_at_ms = 0;
  Order order = Order::newest_first;
  std::optional<int64_t> started_from_ms;  ///< inclusive
  std::optional<std::string> template_name;
  std::vector<std::pair<std::string, std::string>> metadata;  ///< all must be there
  std::optional<std::vector<std::string>> labels;             ///< only those with one of these
  std::optional<std::string> tenant;
  std::string agent;                            ///< only those of this agent or below; empty: all
  std::optional<std::vector<std::string>> ids;  ///< only those with one of these
  std::optional<Position> behind;
  int limit = 100;
};

/// Blocking. Thread: one at a time.
/// Errors of all calls: no_space, corrupted, unavailable, internal; others where they are named.
class Store {
 public:
  virtual ~Store() = default;

  /// What is in use before a sandbox is added: by its tenant, and by each of its budgets.
  struct InUse {
    Usage tenant;
    std::vector<Usage> budgets;  ///< in the order of the record's
  };
  using Admission = std::function<Result<void>(const InUse&)>;

  /// already_exists; not_found for an unknown tenant.
  virtual Result<void> add_sandbox(const SandboxRecord& record) = 0;
  /// As add_sandbox() if `admit` says ok, else fails as it did. Counting and adding are one transaction, so
  /// that two at once never get the last place both. `admit` must not call the store.
  virtual Result<void> add_sandbox_if(const SandboxRecord& record, const Admission& admit) = 0;
  /// Makes a starting one running. not_found if it has been removed meanwhile.
  virtual Result<void> set_running(const std::string& id, const Started& started) = 0;
  /// Of these calls each is one step: failed_precondition, and nothing is changed, if the sandbox is
  /// in another state than those it names; not_found.
  virtual Result<void> move_state(const std::string& id, SandboxState from, SandboxState to) = 0;
  /// Makes a running or pausing one paused.
  virtual Result<void> set_paused(const std::string& id, const Paused& paused) = 0;
  /// Makes a resuming one running. When it was made stays.
  virtual Result<void> set_resumed(const std::string& id, const Started& started,
                                   int64_t ends_ms) = 0;

  /// not_found.
  virtual Result<void> set_end(const std::string& id, int64_t ends_ms) = 0;
  /// not_found.
  virtual Result<void> set_egress(const std::string& id, const SandboxEgress& egress) = 0;
  /// Whether there was one.
  virtual Result<bool> remove_sandbox(const std::string& id) = 0;
  virtual Result<std::optional<SandboxRecord>> find_sandbox(const std::string& id) = 0;
  /// Every record in whatever state.
  virtual Result<std::vector<SandboxRecord>> all_sandboxes() = 0;
  virtual Result<std::vector<SandboxRecord>> list_sandboxes(const SandboxQuery& query) = 0;
  /// How many `query` would list without its limit and position.
  virtual Result<int64_t> count_sandboxes(const SandboxQuery& query) = 0;

  virtual TenantStore& tenants() = 0;
  virtual TemplateStore& templates() = 0;
  virtual LinkStore& links() = 0;
  virtual SnapshotStore& snapshots() = 0;
  virtual ModelStore& models() = 0;
  virtual SecretStore& secrets() = 0;
};

/// Opens or makes the database at `path` and brings its schema up to date. corrupted for a damaged
/// file; failed_precondition for one that a newer version has written.
Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path);

}  // namespace hako::store
