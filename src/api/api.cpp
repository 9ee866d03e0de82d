#include "api/api.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "api/audit_trail.h"
#include "api/authority.h"
#include "api/certificate.h"
#include "api/egress_control.h"
#include "api/egress_log.h"
#include "api/egress_usage.h"
#include "api/either.h"
#include "api/intercept_link.h"
#include "api/mcp_endpoint.h"
#include "api/model_budgets.h"
#include "api/secrets.h"
#include "api/server.h"
#include "api/sleepers.h"
#include "api/snapshots.h"
#include "api/template_builder.h"
#include "api/token_keys.h"
#include "api/tokens.h"
#include "base/async/lasting.h"
#include "base/async/turn_queue.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/listening.h"
#include "jail/jail.h"

namespace hako::api {
using namespace std::chrono_literals;

namespace {

constexpr auto kReconcileEvery = 60s;

/// `isolation` as the node says it; unknown counts as emulated.
policy::Decision may_listen(const config::Config& config, std::string_view isolation) {
  policy::Listening server = config::api_listening(config);
  server.emulated = isolation != "hardware";
  return policy::may_listen(server);
}

/// The sockets for the gate, in a folder where only root may make them.
Result<void> listen_for_gate(const config::Config& config, ApiOptions& options) {
  // The node makes it as well, and may not have got to it yet.
  if (::mkdir(config.run_dir.c_str(), 0711) == 0) (void)::chmod(config.run_dir.c_str(), 0711);
  if (!options.wake_listener) {
    HAKO_TRY(options.wake_listener, rpc::listen_unix(config.wake_socket(), config.gate_uid));
  }
  if (!options.broker_listener) {
    HAKO_TRY(options.broker_listener, rpc::listen_unix(config.broker_socket(), config.gate_uid));
  }
  if (config.api_host().empty() || options.gate_listener) return ok();
  HAKO_TRY(options.gate_listener, rpc::listen_unix(config.api_socket(), config.gate_uid));
  return ok();
}

/// Nothing if this server keeps no secrets. Blocking.
Result<std::optional<vault::MasterKey>> read_master_key(const config::Config& config) {
  constexpr std::chrono::seconds kCommandLimit{30};
  std::optional<vault::MasterKey> key;
  if (!config.master_key_file.empty()) {
    HAKO_TRY(key, vault::read_master_key_file(config.master_key_file));
  } else if (!config.master_key_command.empty()) {
    HAKO_TRY(key, vault::run_master_key_command(config.master_key_command, kCommandLimit));
  }
  return key;
}

/// All that the api sees of this machine from then on: its own folder, the sockets of the others,
/// and what resolving names and skopeo need.
std::vector<jail::Shown> files_of_api(const config::Config& config) {
  using As = jail::Shown::As;
  return {{"/usr", As::program, true},
          {"/etc", As::read_only, true},
          {"/run/systemd/resolve"},
          {config.skopeo, As::program},
          {"/dev/null", As::device},
          {"/dev/urandom", As::device},
          {config.run_dir},
          {key_hash_file(config)},
          {config.state_dir + "/api", As::writable}};
}

/// What only root can do, and then no longer root. The port may be one that only root can bind.
Result<void> give_up_root(const config::Config& config, ApiOptions& options) {
  HAKO_TRYV(prepare_api_state(config));
  if (!options.listener && may_listen(config, "").allowed) {
    HAKO_TRY(options.listener, http::listen_tcp(config.api_address, config.api_port));
  }
  HAKO_TRYV(listen_for_gate(config, options));
  HAKO_TRYV(jail::confine_daemon(config.api_uid, config.api_uid, files_of_api(config)));
  return jail::confine_api();
}

/// Whose calls must be counted.
std::vector<ModelHost> model_hosts(const config::Models& models) {
  std::vector<ModelHost> hosts;
  for (const config::ModelEndpoint& each : models.endpoints) {
    hosts.push_back({each.host, each.port, each.api, each.secret});
  }
  return hosts;
}

/// What no label closes: servers that are called with a key that is kept here.
std::vector<policy::BrokeredServer> brokered_servers(const config::Models& models) {
  std::vector<policy::BrokeredServer> servers;
  for (const config::ModelEndpoint& each : models.endpoints) {
    if (each.secret.empty()) continue;
    policy::BrokeredServer server;
    server.target.name = each.host;
    server.target.ports = {{each.port, each.port}};
    server.label = each.label;
    servers.push_back(std::move(server));
  }
  return servers;
}

/// Everything that lives as long as the server, in the order in which it depends on each other.
class Api {
 public:
  Api(config::Config config, std::unique_ptr<store::Store> store, std::string token_master,
      std::optional<vault::MasterKey> master_key, std::unique_ptr<audit::Log> audit_log,
      config::Models models, ApiOptions options, asio::any_io_executor executor)
      : config_(std::move(config)),
        options_(std::move(options)),
        store_(std::move(store)),
        trail_(config_, std::move(audit_log)),
        metrics_(executor, config_, store_),
        node_(config_.node_socket(), node_events()),
        certificate_(!config_.api_certificate.empty(), node_, tls_),
        egress_log_(to_unix_ms(WallClock::now())),
        limits_(config_),
        models_(std::move(models), store_),
        master_key_(std::move(master_key)),
        box_secrets_(store_, master_key_, model_hosts(models_.models())),
        sandboxes_(config_, store_, node_, limits_, box_secrets_, sandbox_events()),
        sleepers_([this](std::string box) { return sandboxes_.wake(std::move(box)); }),
        intercept_([this](std::string box) { return box_secrets_.material(std::move(box)); }),
        snapshots_(config_, store_, node_, sandboxes_),
        egress_(config_.egress, store_, node_, sandboxes_, box_secrets_, label_raised(),
                written()),
        usage_(store_, egress_),
        catalog_(config_, store_, node_),
        files_(config_, store_),
        builder_(config_, catalog_, files_, node_, store_, limits_, executor),
        authority_(config_, store_, std::move(token_master)),
        tenants_(store_, [this](KeyChange change) { return tenant_changed(std::move(change)); }),
        keys_(store_, [this](KeyChange change) { return drop_stale_grants(std::move(change)); }),
        tokens_(store_, authority_.token_master(),
                [this](KeyChange change) { return drop_stale_grants(std::move(change)); }),
        secrets_(store_, master_key_,
                 [this](Secrets::Change change) { return secret_changed(std::move(change)); }),
        mcp_(executor),
        service_{config_,  store_,   node_,    sandboxes_, snapshots_, egress_, egress_log_,
                 catalog_, files_,   builder_, metrics_,   authority_, tenants_, keys_,
                 tokens_,  secrets_, box_secrets_, limits_, trail_, models_, mcp_},
        server_(service_) {
    intercept_.extend([this](rpc::Peer& gate) { models_.register_on(gate); });
    mcp_.answer_by([this](http::Exchange& exchange) { return server_.handle(exchange); });
  }

  Task<Result<void>> run() {
    auto executor = co_await asio::this_coro::executor;
    TaskGroup tasks(executor);
    std::exception_ptr fault;
    Result<void> outcome = ok();
    try {
      auto stored = co_await store_operator_key();
      if (stored) stored = co_await tell_trail_of_all();
      if (stored) stored = co_await egress_.take_over_old_tokens();
      if (stored) stored = co_await catalog_.fail_unfinished();
      if (stored) {
        tasks.spawn("node link", lasting("node link", [this] { return node_.run(); }));
        tasks.spawn("reconcile", lasting("reconcile", [this] { return reconcile_now_and_then(); }));
        tasks.spawn("certificate", certificate_.watch(options_.certificate_look));
        tasks.spawn("metrics", metrics_.run());
        tasks.spawn("audit", trail_.run());
        tasks.spawn("audit verification", trail_.verify());
        tasks.spawn("traffic", usage_.run());
        tasks.spawn("models", models_.run());
        if (options_.gate_listener) tasks.spawn("serve gate", serve_gate());
        if (options_.wake_listener) {
          uid_t gate = config_.gate_uid;
          tasks.spawn("wake", sleepers_.serve(std::move(options_.wake_listener), gate));
        }
        if (options_.broker_listener) {
          uid_t gate = config_.gate_uid;
          tasks.spawn("broker", intercept_.serve(std::move(options_.broker_listener), gate));
        }
        stored = co_await listen_and_serve();
      }
      outcome = stored;
    } catch (...) {
      fault = std::current_exception();
    }
    co_await shield_from_cancellation();
    co_await builder_.stop();
    co_await mcp_.stop();
    trail_.stop();
    co_await tasks.stop();
    co_await metrics_.stop();
    trail_.log().close();
    if (fault) std::rethrow_exception(fault);
    co_return outcome;
  }

 private:
  NodeLink::Events node_events() {
    NodeLink::Events events;
    events.connected = [this](NodeInfo info) { return node_connected(std::move(info)); };
    events.gone = [this](std::string box, std::string reason, std::string detail) {
      return sandboxes_.box_gone(std::move(box), std::move(reason), std::move(detail));
    };
    events.egress = [this](const std::string& box, const boost::json::array& records) {
      take_egress(box, records);
    };
    events.access = [this](const std::string& box, const boost::json::array& records) {
      take_access(box, records);
    };
    return events;
  }

  Sandboxes::Events sandbox_events() {
    Sandboxes::Events events;
    events.made = [this](const store::SandboxRecord& record) { trail_.made(record); };
    events.changed = [this](const store::SandboxRecord& record, const std::string& what) {
      changed(record, what);
    };
    events.doubtful = [this](std::string id) { return egress_.push_one(std::move(id)); };
    events.ended = [this](const std::string& id) { drop(id); };
    events.gone = [this](const std::string& id, const std::string& reason,
                         const std::string& detail) {
      trail_.gone(id, reason, detail);
    };
    return events;
  }

  EgressControl::Raised label_raised() {
    return [this](const store::SandboxRecord& record, policy::Label from, const Principal& who) {
      trail_.label_raised(record, from, who);
    };
  }

  /// The gate tells of boxes only by their ids.
  Task<Result<void>> tell_trail_of_all() {
    HAKO_CO_TRY(auto records, co_await store_.all_sandboxes());
    for (const store::SandboxRecord& record : records) {
      trail_.knows(record);
      sleepers_.know(record);
    }
    co_return ok();
  }

  EgressControl::Written written() {
    return [this](const store::SandboxRecord& record) {
      sleepers_.know(record);
      intercept_.changed({record.id});
    };
  }

  /// Of one that goes on to be.
  void changed(const store::SandboxRecord& record, const std::string& what) {
    trail_.changed(record, what);
    sleepers_.know(record);
    if (what != "paused") return;
    metrics_.drop(record.id);
    usage_.gone(record.id);
  }

  void take_egress(const std::string& box, const boost::json::array& records) {
    for (const boost::json::value& value : records) {
      auto record = parse_record(value);
      if (record && record.value().verdict == "moved") {
        constexpr int64_t kMost = int64_t(1) << 60;  // no sum that could run over
        usage_.add(box, std::min(record.value().bytes_out, kMost));
      } else if (record) {
        trail_.egress(box, record.value());
        usage_.add(box, 0);
        egress_log_.add(box, std::move(record.value()));
      } else {
        log_warn("egress record left out", {{"error", record.error().message()}});
      }
    }
  }

  void take_access(const std::string& box, const boost::json::array& records) {
    for (const boost::json::value& value : records) {
      auto record = parse_access_record(value);
      if (record) {
        trail_.access(box, record.value());
      } else {
        log_warn("access record left out", {{"error", record.error().message()}});
      }
    }
  }

  /// The sandbox is no more.
  void drop(const std::string& id) {
    sleepers_.forget(id);
    metrics_.drop(id);
    egress_log_.drop(id);
    models_.drop(id);
    usage_.gone(id);
  }

  Task<Result<void>> store_operator_key() {
    HAKO_CO_TRY(auto hash, read_key_hash(config_));
    store::ApiKey key;
    key.id = std::string(kOperatorKey);
    key.hash = std::move(hash);
    key.role = policy::to_string(policy::Role::platform);
    key.label = "made at the first start";
    key.clearance = policy::to_string(policy::Label::secret);
    key.created_ms = to_unix_ms(WallClock::now());
    auto put = [key = std::move(key)](store::TenantStore& tenants) { return tenants.put_key(key); };
    co_return co_await store_.with_tenants(std::move(put));
  }

  Task<void> node_connected(NodeInfo info) {
    isolation_ = info.isolation;
    isolation_known_.notify_all();
    co_await certificate_.fetch();
    co_await sandboxes_.reconcile();
    co_await drop_all_stale_grants();
    co_await egress_.push_all();
    co_await catalog_.remove_strays();
  }

  Task<void> drop_stale_grants(KeyChange change) {
    auto dropped = co_await egress_.drop_stale_grants(std::move(change));
    if (!dropped) log_warn("old access not ended yet", {{"error", dropped.error().message()}});
    co_await files_.drop_stale();
    co_await builder_.drop_stale();
  }

  Task<void> drop_all_stale_grants() {
    KeyChange any;
    co_await drop_stale_grants(std::move(any));
  }

  /// Who may do what in it, and what its sandboxes may reach.
  Task<void> tenant_changed(KeyChange change) {
    co_await drop_stale_grants(change);
    co_await egress_.push_tenant(std::move(change.tenant));
  }

  /// First what gates have in memory, then what the policies say: no value outlives its end for longer
  /// than a message takes.
  Task<void> secret_changed(Secrets::Change change) {
    auto records = co_await store_.all_sandboxes();
    if (records) {
      std::vector<std::string> users;
      for (const store::SandboxRecord& record : records.value()) {
        if (names_secret(parse_options(record.options), change.before)) users.push_back(record.id);
      }
      intercept_.changed(users);
    } else {
      intercept_.all_changed();
    }
    if (!change.only_value) co_await egress_.push_users_of(std::move(change.before));
  }

  Task<void> reconcile_now_and_then() {
    for (;;) {
      co_await sleep_for(kReconcileEvery);
      if (!node_.connected()) continue;
      co_await sandboxes_.reconcile();
      // What has expired, and what a crash came in between.
      co_await drop_all_stale_grants();
      co_await egress_.push_doubtful();
    }
  }

  /// Requests that the gate brings. Whether it may listen where it does is the node's affair.
  Task<void> serve_gate() {
    http::Handler handler = [this](http::Exchange& exchange) { return server_.handle(exchange); };
    co_await http::serve(std::move(options_.gate_listener), std::move(handler));
  }

  policy::Decision decision() const { return may_listen(config_, isolation_); }

  /// Returns when policy says no; without end while it says yes.
  Task<void> wait_until_refused() {
    while (decision().allowed) co_await isolation_known_.wait();
  }

  Task<Result<void>> listen_and_serve() {
    if (!decision().allowed) log_info("waiting for the node before listening");
    while (!decision().allowed && isolation_.empty()) co_await isolation_known_.wait();
    if (auto now = decision(); !now.allowed) {
      co_return Error(ErrorCode::permission_denied, now.explanation());
    }
    // Programs of this machine need no certificate; others would only be turned away.
    if (!policy::is_loopback(config_.api_address)) co_await certificate_.wait_until_usable();
    Fd listener = std::move(options_.listener);
    if (!listener) {
      HAKO_CO_TRY(listener, http::listen_tcp(config_.api_address, config_.api_port));
    }
    uint16_t port = http::local_port(listener);
    boost::json::object fields;
    fields["address"] = config_.api_address;
    fields["port"] = port;
    log_info("listening", std::move(fields));
    if (options_.on_listening) options_.on_listening(port);
    http::Handler handler = [this](http::Exchange& exchange) { return server_.handle(exchange); };
    http::Welcome welcome;
    if (!config_.api_certificate.empty())
      welcome = [this](http::Stream stream) { return tls_.welcome(std::move(stream)); };
    http::ServerLimits limits;
    // Each is two where it goes on to the gate.
    limits.connections = http::connections_within_descriptors(2);
    auto serving = http::serve(std::move(listener), std::move(handler), limits, std::move(welcome));
    auto refused = wait_until_refused();
    co_await until_either_ends(std::move(serving), std::move(refused));
    co_return Error(ErrorCode::permission_denied, decision().explanation());
  }

  config::Config config_;
  ApiOptions options_;
  store::AsyncStore store_;
  AuditTrail trail_;
  Metrics metrics_;
  NodeLink node_;
  tls::Server tls_;
  Certificate certificate_;
  EgressLog egress_log_;
  TenantLimits limits_;
  ModelBudgets models_;
  const std::optional<vault::MasterKey> master_key_;
  BoxSecrets box_secrets_;
  Sandboxes sandboxes_;
  Sleepers sleepers_;
  InterceptLink intercept_;
  Snapshots snapshots_;
  EgressControl egress_;
  EgressUsage usage_;
  TemplateCatalog catalog_;
  TemplateFiles files_;
  TemplateBuilder builder_;
  Authority authority_;
  Tenants tenants_;
  KeyRecords keys_;
  Tokens tokens_;
  Secrets secrets_;
  McpEndpoint mcp_;
  Service service_;
  Server server_;
  std::string isolation_;  ///< as the node last said; empty until it has
  Condition isolation_known_;
};

}  // namespace

Task<Result<void>> run_api(config::Config config, ApiOptions options) {
  raise_descriptor_limit();
  // As root, and before anything of a stranger is read.
  HAKO_CO_TRY(auto master_key, read_master_key(config));
  // Before it is another user's process: the file may be root's.
  HAKO_CO_TRY(auto models, config::load_models(config.models_file));
  if (!models.endpoints.empty() && !master_key) {
    co_return Error(ErrorCode::failed_precondition,
                    "[models] file names servers, and their calls can be counted only where boxes have"
                    " authorities of their own: [secrets] needs a master key");
  }
  config.egress.brokered = brokered_servers(models);
  if (::geteuid() == 0 && !options.stay_root) {
    HAKO_CO_TRYV(give_up_root(config, options));
  } else {
    HAKO_CO_TRYV(listen_for_gate(config, options));
  }
  HAKO_CO_TRY(auto store, store::open_sqlite_store(config.database()));
  HAKO_CO_TRY(auto token_master, read_or_make_token_master(config));
  // On the heap, as its parts refer to each other.
  auto executor = co_await asio::this_coro::executor;
  HAKO_CO_TRY(auto audit_log, AuditTrail::open_log(config));
  auto api = std::make_unique<Api>(std::move(config), std::move(store), std::move(token_master),
                                   std::move(master_key), std::move(audit_log),
                                   std::move(models), std::move(options), executor);
  co_return co_await api->run();
}

}  // namespace hako::api
