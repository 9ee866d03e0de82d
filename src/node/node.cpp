#include "node/node.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>
#include <filesystem>
#include <thread>

#include "base/async/lasting.h"
#include "base/encoding.h"
#include "base/log.h"
#include "config/listening.h"
#include "engine/kvm_verdict.h"
#include "engine/qemu/qemu_engine.h"
#include "image/checksum.h"
#include "jail/jail.h"
#include "node/certificate.h"
#include "node/kvm_trial.h"
#include "node/machine_limits.h"
#include "node/reconcile.h"
#include "node/service.h"
#include "node/stray_watch.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

constexpr int kBlockingThreads = 4;
constexpr int kSlotsReady = 4;
constexpr size_t kVerdictText = 300;
/// Boxes that are not found by then are looked for while the others are served.
constexpr auto kFindAll = std::chrono::seconds(1);
constexpr auto kLockPatience = std::chrono::seconds(5);
constexpr auto kLockPause = std::chrono::milliseconds(20);
constexpr auto kGateLook = std::chrono::milliseconds(50);
/// Slots beyond the boxes: for pools, template builds, and slots made ahead.
constexpr int kSpareSlots = 200;

Result<void> make_folders(const config::Config& config) {
  struct Folder {
    std::string path;
    mode_t mode;
  };
  const Folder folders[] = {
      // The other roles pass through these two, so they may be entered but not listed.
      {config.state_dir, 0711},
      {config.run_dir, 0711},
      {config.state_dir + "/node", 0700},
      {config.state_dir + "/node/vms", 0700},
      {config.state_dir + "/node/snapshots", 0700},
      {config.state_dir + "/node/templates", 0700},
      {config.state_dir + "/node/roots", 0700},
      {config.state_dir + "/node/layers", 0700},
      {config.state_dir + "/node/checkpoints", 0700},
      {config.state_dir + "/node/bases", 0700},
      {config.run_dir + "/vmm", 0700},
      {config.run_dir + "/netns", 0700},
  };
  for (const Folder& folder : folders) {
    std::error_code error;
    fs::create_directories(folder.path, error);
    if (error) return Error::from_errno(error.value(), "create " + folder.path);
    if (::chmod(folder.path.c_str(), folder.mode) < 0)
      return Error::from_errno(errno, "set the mode of " + folder.path);
  }
  return ok();
}

Result<Fd> lock_file(const std::string& path, const std::string& what) {
  HAKO_TRY(auto lock, open_file(path, O_RDWR | O_CREAT, 0600));
  // One that has been killed has the lock until its memory is put away, and so has what it had just
  // begun to start.
  auto patience = std::chrono::steady_clock::now() + kLockPatience;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
    if (std::chrono::steady_clock::now() >= patience)
      return Error(ErrorCode::failed_precondition, "another hako node is running with " + what);
    std::this_thread::sleep_for(kLockPause);
  }
  return lock;
}

/// Two nodes on one state folder, or with the same uids for their VMMs, would take each other's
/// machines for leftovers.
struct Locks {
  Fd state, uids;
};
Result<Locks> lock_out_others(const config::Config& config) {
  Locks locks;
  HAKO_TRY(locks.state,
           lock_file(config.state_dir + "/node/lock", "the state folder " + config.state_dir));
  std::string base = std::to_string(config.vmm_uid_base);
  HAKO_TRY(locks.uids, lock_file("/run/hako-uids-" + base + ".lock", "VMM uids from " + base));
  return locks;
}

engine::AccelMode accel_mode(const std::string& name) {
  if (name == "kvm") return engine::AccelMode::kvm;
  if (name == "tcg") return engine::AccelMode::tcg;
  return engine::AccelMode::automatic;
}

/// The operator's kernel in place of the image's own, and a digest that says so.
Result<image::Image> load_guest(const config::Config& config) {
  HAKO_TRY(auto image, image::load_image(config.image_dir + "/" + config.default_template));
  if (config.kernel.empty()) return image;
  HAKO_TRY(auto file, open_file(config.kernel, O_RDONLY));
  HAKO_TRY(auto sum, image::sha256_of_file(file.get()));
  image.kernel = config.kernel;
  image.digest = image::sha256_of_text(image.digest + sum);
  return image;
}

std::string verdict_path(const config::Config& config) {
  return config.run_dir + "/kvm-verdict.json";
}

Task<Result<std::unique_ptr<engine::Engine>>> make_engine(const config::Config& config,
                                                          engine::AccelMode accel,
                                                          asio::any_io_executor executor) {
  engine::QemuOptions options;
  options.binary = config.qemu;
  options.accel = accel;
  // A kernel that somebody chose for this machine may run where ordinary ones do not.
  options.skip_instruction_probe = !config.kernel.empty();
  // Only asked for what QEMU is; machines are started by their own jailed launchers.
  options.launcher = [executor](const ProcessSpec& spec) { return spawn(executor, spec); };
  co_return co_await engine::make_qemu_engine(std::move(options));
}

/// Errors: permission_denied (others may read it), invalid_argument (no key).
Result<std::optional<std::string>> read_checkpoint_key(const std::string& path) {
  if (path.empty()) return std::optional<std::string>();
  auto problem = [&](ErrorCode code, const char* what) {
    return Error(code, "[checkpoints] key_file " + path + ": " + what);
  };
  HAKO_TRY(auto file, open_file(path, O_RDONLY));
  struct stat info {};
  if (::fstat(file.get(), &info) < 0) return Error::from_errno(errno, "stat " + path);
  if (info.st_uid != 0 || (info.st_mode & 077) != 0)
    return problem(ErrorCode::permission_denied, "it must be root's, and nobody else's to read");
  HAKO_TRY(auto text, read_file(path, 4096));
  while (text.size() > engine::kSealKeyBytes && (text.back() == '\n' || text.back() == '\r'))
    text.pop_back();
  if (text.size() == 2 * engine::kSealKeyBytes)
    if (auto bytes = hex_decode(text)) text = *bytes;
  if (text.size() != engine::kSealKeyBytes)
    return problem(ErrorCode::invalid_argument, "it must hold 32 bytes, or as many in hex");
  return std::optional(std::move(text));
}

/// Everything a running node consists of.
class Node {
 public:
  Node(const config::Config& config, asio::any_io_executor executor,
       std::unique_ptr<engine::Engine> engine, image::Image image, Fd empty_netns,
       std::string trial, std::optional<std::string> checkpoint_key)
      : config_(config),
        blocking_(kBlockingThreads),
        engine_(std::move(engine)),
        empty_netns_(std::move(empty_netns)),
        slots_(executor, blocking_, config.run_dir + "/netns", slot_limits(config),
               config.max_boxes + kSpareSlots, kSlotsReady),
        gate_([this](const std::string& machine,
                     int count) { return boxes_.open_sockets(machine, count); },
              [this](RecordKind kind, BoxRecords records) {
                service_.tell_records(kind, std::move(records));
              },
              [this] { return announce(); }),
        certificate_(config, gate_),
        shares_(config_),
        context_{executor, blocking_, config_, *engine_, slots_,
                 gate_,    shares_,   empty_netns_.get()},
        bases_(context_),
        checkpoints_(context_, bases_),
        templates_(context_, bases_, std::move(image)),
        boxes_(context_, templates_, bases_, checkpoints_,
               [this](const std::string& box, EndReason reason, const std::string& detail) {
                 service_.tell_gone(box, reason, detail);
               }),
        service_(context_, boxes_, templates_, checkpoints_),
        strays_(context_),
        trial_(std::move(trial)),
        tasks_(executor) {
    context_.checkpoint_key = std::move(checkpoint_key);
  }

  Task<Result<NodeEnd>> run(Leftovers leftovers) {
    HAKO_CO_TRYV(templates_.load());
    // Before there are boxes that a failed start would end.
    HAKO_CO_TRYV(co_await checkpoints_.load());
    HAKO_CO_TRYV(shares_.open());
    slots_.start(leftovers.slots);
    HAKO_CO_TRY(auto api_socket, rpc::listen_unix(config_.node_socket(), config_.api_uid));
    HAKO_CO_TRY(auto gate_socket, rpc::listen_unix(config_.gate_socket(), config_.gate_uid));
    std::exception_ptr cut_short;
    try {
      co_await find_boxes(std::move(leftovers.boxes));
    } catch (...) {
      cut_short = std::current_exception();
    }
    if (cut_short) {
      co_await shield_from_cancellation();
      co_await stop();
      std::rethrow_exception(cut_short);
    }
    boxes_.start();
    tasks_.spawn("watch for strays", lasting("watch for strays", [this] { return strays_.run(); }));
    tasks_.spawn("watch certificate",
                 lasting("watch certificate", [this] { return certificate_.watch(); }));
    std::function<Task<void>(Fd, uid_t)> serve_api = [this](Fd connection, uid_t) {
      return service_.serve(std::move(connection));
    };
    std::function<Task<void>(Fd, uid_t)> serve_gate = [this](Fd connection, uid_t) {
      return gate_.serve(std::move(connection));
    };
    // Nobody reaches a node that does not listen; started again it finds its boxes.
    auto to_gate =
        rpc::accept_peers(std::move(gate_socket), {config_.gate_uid}, std::move(serve_gate));
    tasks_.spawn("serve gate", vital("serve gate", std::move(to_gate)));
    if (!trial_.empty()) {
      bool cancelled = co_await wait_for_gate();
      Result<bool> proved = true;
      if (!cancelled) proved = co_await run_to_end(try_kvm());
      if (cancelled || !proved || !proved.value()) {
        co_await shield_from_cancellation();
        co_await stop();
        if (!proved) co_return proved.error();
        co_return cancelled ? NodeEnd::stopped : NodeEnd::start_again;
      }
    }
    auto to_api = rpc::accept_peers(std::move(api_socket), {config_.api_uid}, std::move(serve_api));
    tasks_.spawn("serve api", vital("serve api", std::move(to_api)));
    // Built templates get a pool once they are used; see Boxes::create().
    const std::string& first = config_.default_template;
    tasks_.spawn("open pool of " + first, lasting("open pool of " + first, [this, first] {
                   return boxes_.keep_pool_open(first);
                 }));
    log_info("node_started", {{"isolation", engine::to_string(engine_->fingerprint().isolation)},
                              {"reason", engine_->accel_reason()},
                              {"adopted", boxes_.list().size()}});
    // Until cancelled.
    boost::system::error_code stopped;
    asio::steady_timer forever(co_await asio::this_coro::executor,
                               asio::steady_timer::time_point::max());
    co_await forever.async_wait(asio::redirect_error(asio::use_awaitable, stopped));
    co_await shield_from_cancellation();
    co_await stop();
    co_return NodeEnd::stopped;
  }

  Task<void> find_boxes(std::vector<VmRecord> records) {
    co_await boxes_.adopt(std::move(records), kFindAll);
    // What the boxes stand on is known now, and stays.
    co_await templates_.collect();
    co_await checkpoints_.collect();
  }

  /// Whether somebody asked this node to stop meanwhile.
  Task<bool> wait_for_gate() {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    for (;;) {
      auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) co_return true;
      if (gate_.connected()) co_return false;
      timer.expires_after(kGateLook);
      boost::system::error_code ignored;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  /// What `auto` chose after a probe of some instructions must prove itself with a real guest
  /// before anybody is served. If it does not, this node ends, and starts again without KVM.
  Task<Result<bool>> try_kvm() {
    engine::KvmVerdict verdict;
    verdict.subject = trial_;
    log_info("kvm_on_trial", {{"reason", engine_->accel_reason()}});
    auto tried = co_await run_trial_guest(context_, templates_, config_.default_template);
    verdict.works = tried.has_value();
    if (!tried) {
      ErrorCode code = tried.error().code();
      // These say nothing about KVM.
      bool other = code == ErrorCode::no_space || code == ErrorCode::resource_exhausted ||
                   code == ErrorCode::no_capacity ||
                   code == ErrorCode::not_found || !gate_.connected();
      if (other) co_return tried.error().with_context("try KVM with a guest");
      // Without the end of the console, which the log has.
      verdict.reason = tried.error().message();
      verdict.reason.resize(
          std::min({verdict.reason.size(), verdict.reason.find('\n'), kVerdictText}));
    }
    if (auto written = engine::write_kvm_verdict(verdict_path(config_), verdict); !written)
      log_error("kvm_verdict_not_kept", {{"error", written.error().message()}});
    if (verdict.works) {
      log_info("kvm_proved");
      co_return true;
    }
    log_error("kvm_does_not_run_guests", {{"error", verdict.reason}});
    co_return false;
  }

  Task<void> stop() {
    log_info("node_stopping");
    co_await boxes_.stop();
    co_await service_.stop_builds();
    co_await tasks_.stop();
    co_await slots_.stop();
    blocking_.join();
    shares_.close();
  }

 private:
  /// A gate has connected.
  Task<void> announce() {
    co_await certificate_.hand_over();
    co_await boxes_.announce_all();
  }

  const config::Config& config_;
  asio::thread_pool blocking_;
  std::unique_ptr<engine::Engine> engine_;
  Fd empty_netns_;
  SlotPool slots_;
  GateLink gate_;
  Certificate certificate_;
  Shares shares_;
  Context context_;
  Bases bases_;
  Checkpoints checkpoints_;
  Templates templates_;
  Boxes boxes_;
  Service service_;
  StrayWatch strays_;
  std::string trial_;  ///< the subject, when KVM is yet to be tried
  TaskGroup tasks_;
};

}  // namespace

Task<Result<NodeEnd>> run_node(const config::Config& config) {
  if (::geteuid() != 0)
    co_return Error(ErrorCode::permission_denied,
                    "the node must run as root: it makes namespaces and jails");
  // Each box costs five. VMMs get a bound of their own from their jail.
  raise_descriptor_limit();
  HAKO_CO_TRYV(make_folders(config));
  HAKO_CO_TRY(auto lock, lock_out_others(config));
  auto executor = co_await asio::this_coro::executor;
  HAKO_CO_TRY(auto image, load_guest(config));
  auto accel = accel_mode(config.accel);
  HAKO_CO_TRY(auto engine, co_await make_engine(config, accel, executor));
  std::string trial;
  if (accel == engine::AccelMode::automatic &&
      engine->fingerprint().isolation == engine::Isolation::hardware) {
    trial = engine::kvm_trial_subject(engine->fingerprint(), image.digest);
    auto verdict = engine::read_kvm_verdict(verdict_path(config));
    if (verdict && verdict->subject == trial) {
      trial.clear();
      if (!verdict->works) {
        log_warn("kvm_failed_before", {{"error", verdict->reason}});
        HAKO_CO_TRY(auto other, co_await make_engine(config, engine::AccelMode::tcg, executor));
        engine = std::move(other);
      }
    }
  }
  bool emulated = engine->fingerprint().isolation == engine::Isolation::emulated;
  policy::Listening gate = config::gate_listening(config);
  gate.emulated = emulated;
  auto reachable = policy::may_listen(gate);
  if (!reachable.allowed)
    co_return Error(ErrorCode::permission_denied, "[gate] address: " + reachable.explanation());
  HAKO_CO_TRY(auto checkpoint_key, read_checkpoint_key(config.checkpoint_key_file));
  HAKO_CO_TRY(auto netns, network::empty_namespace(config.run_dir + "/netns/empty"));
  HAKO_CO_TRY(auto leftovers, sweep(config, true));
  Node node(config, executor, std::move(engine), std::move(image), std::move(netns),
            std::move(trial), std::move(checkpoint_key));
  co_return co_await node.run(std::move(leftovers));
}

Result<void> clean_up(const config::Config& config) {
  HAKO_TRYV(make_folders(config));
  HAKO_TRY(auto lock, lock_out_others(config));
  HAKO_TRY(auto left, sweep(config, false));
  (void)left;
  HAKO_TRYV(network::remove_empty_namespace(config.run_dir + "/netns/empty"));
  return network::release_slots(config.run_dir + "/netns");
}

}  // namespace hako::node
