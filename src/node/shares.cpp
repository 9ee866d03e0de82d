#include "node/shares.h"

#include <cerrno>
#include <filesystem>
#include <functional>

#include "base/log.h"
#include "image/checksum.h"
#include "node/machine_limits.h"

namespace hako::node {
namespace {

constexpr char kPool[] = "pool";
constexpr char kTenantPrefix[] = "tenant-";
constexpr char kBoxPrefix[] = "box-";
/// No machine: a group that is made to see what can be set.
constexpr char kProbe[] = "probe";
constexpr int kEqual = 100;
/// Memory is counted in lots: who is ended at a limit may have been a little below it.
constexpr int64_t kNearly = 1 << 20;
/// Making clones ready is work for whoever creates next, and one of them at a time. With a tenant's
/// part, those of everybody would be late as soon as one tenant is busy.
constexpr int kForAll = 400;
/// Of one that is being made for the pool, beside kEqual of those that somebody has claimed from it:
/// those are waited for.
constexpr int kBeingMade = 10;

/// Names the hako of this run folder among those of the machine.
std::string tree_of(const config::Config& config) {
  std::error_code unknown;
  auto path = std::filesystem::weakly_canonical(config.run_dir, unknown);
  return "hako/" + image::sha256_of_text(unknown ? config.run_dir : path.string()).substr(0, 16);
}

/// All that a hako may have something in.
Result<jail::CgroupTree> open_tree(const config::Config& config) {
  return jail::CgroupTree::open(tree_of(config), {"cpu", "memory", "pids", "io"});
}
/// What this one is to use. Where processors are not shared, VMMs stay beside whatever else wants
/// them, rather than all in one group of the weight of one process.
Result<jail::CgroupTree> open_wanted(const config::Config& config) {
  if (config.cpu_shares) return open_tree(config);
  return jail::CgroupTree::open(tree_of(config), {"memory", "pids", "io"});
}

bool wants_groups(const config::Config& config) {
  return config.cpu_shares || config.spare_memory_mib > 0 || config.boxes_memory_percent > 0 ||
         config.vmm_threads > 0 || config.disk_mib_per_second > 0 ||
         config.disk_operations_per_second > 0;
}

/// Empty: those that are nobody's yet.
std::string group_of(const std::string& tenant) {
  return tenant.empty() ? kPool : kTenantPrefix + tenant;
}

std::string group_of(const std::string& tenant, const std::string& machine) {
  return group_of(tenant) + "/" + kBoxPrefix + machine;
}

jail::CgroupLimits share_of(int weight) {
  jail::CgroupLimits limits;
  limits.cpu_weight = weight;
  return limits;
}

/// Whether the same may work in a moment: no word about what this machine can do.
bool passes(const Error& error) {
  return error.code() == ErrorCode::resource_exhausted || error.code() == ErrorCode::no_space;
}

std::optional<std::string> why_killed(const jail::MemoryUse& use) {
  if (use.oom_kills == 0) return std::nullopt;
  auto mib = [](int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
  if (use.most_bytes == 0)
    return "there was no memory for its machine: it may use " + mib(use.limit_bytes) +
           ", as far as boxes on this host leave it";
  if (use.most_bytes + kNearly < use.limit_bytes)
    return "no memory was left for boxes on this host; its machine had used " + mib(use.most_bytes);
  return "its machine wanted more memory than the " + mib(use.limit_bytes) + " that it may use";
}

void warn(std::string_view event, const std::string& machine, const Error& error) {
  log_warn(event, {{"machine", machine}, {"error", error.message()}});
}

}  // namespace

Result<void> Shares::open() {
  std::lock_guard lock(mutex_);
  if (!wants_groups(config_)) return ok();
  auto opened = open_wanted(config_);
  Result<void> made = opened ? opened.value().make(kPool, share_of(kForAll)) : opened.error();
  if (!made && passes(made.error())) return made;
  if (!made) {
    log_warn("no_control_groups",
             {{"error", made.error().message()},
              {"effect", "boxes have no limits but their VMM's, and tenants with many of them get "
                         "more of the processors"}});
    return ok();
  }
  tree_.emplace(std::move(opened).value());
  if (config_.cpu_shares) weights_ = tree_->only("cpu");
  if (config_.cpu_shares && !weights_)
    log_warn("no_cpu_shares", {{"effect", "tenants with many boxes get more of the processors"}});
  HAKO_TRYV(find_limits());
  log_info("control_groups", {{"controllers", tree_->describe()}});
  return ok();
}

/// What this machine's groups can keep, found by asking them to.
Result<void> Shares::find_limits() {
  Result<void> found = ok();
  auto cannot = [&](const char* limit, const Error& why) {
    if (passes(why)) found = why;
    lacks_.insert(limit);
    log_warn("limit_not_kept", {{"limit", limit}, {"error", why.message()}});
  };
  auto disk = block_device_of(config_.state_dir);
  if (disk) disk_ = disk.value();
  jail::CgroupLimits all = limits_of_machine(config_, {}, disk_);
  auto possible = [&](const char* limit, const char* controller, bool wanted,
                      const std::function<void(jail::CgroupLimits&)>& take) {
    if (!wanted) return;
    auto tree = tree_->only(controller);
    if (!tree)
      return cannot(limit, Error(ErrorCode::unsupported, "no control groups with this controller"));
    jail::CgroupLimits one;
    take(one);
    auto made = tree->make(group_of("", kProbe), one);
    if (!made) cannot(limit, made.error());
  };
  possible("cpu", "cpu", all.cpu_percent.has_value() && config_.cpu_shares,
           [&](jail::CgroupLimits& one) { one.cpu_percent = all.cpu_percent; });
  possible("memory", "memory", all.memory_bytes.has_value(), [&](jail::CgroupLimits& one) {
    one.memory_bytes = all.memory_bytes;
    one.no_swap = all.no_swap;
  });
  possible("threads", "pids", all.pids.has_value(),
           [&](jail::CgroupLimits& one) { one.pids = all.pids; });
  // Without a disk there is nothing to slow down.
  possible("disk", "io", all.io.has_value(),
           [&](jail::CgroupLimits& one) { one.io = all.io; });
  (void)tree_->remove(group_of("", kProbe));

  auto host = host_memory_bytes();
  auto together = limits_of_all(config_, host ? host.value() : 0);
  auto memory = tree_->only("memory");
  if (!together.memory_bytes || !memory) return found;
  if (auto made = memory->make("", together); !made) cannot("memory of all", made.error());
  return found;
}

jail::CgroupLimits Shares::limits_of(const engine::MachineSize& size) const {
  jail::CgroupLimits limits = limits_of_machine(config_, size, disk_);
  if (lacks_.contains("cpu")) limits.cpu_percent.reset();
  if (lacks_.contains("memory")) limits.memory_bytes.reset();
  if (lacks_.contains("threads")) limits.pids.reset();
  if (lacks_.contains("disk")) limits.io.reset();
  return limits;
}

Result<void> Shares::make(jail::CgroupTree& tree, const std::string& machine,
                          const std::string& tenant, const engine::MachineSize& size) {
  if (!tenant.empty()) {
    HAKO_TRYV(tree.make(group_of(tenant), share_of(kEqual)));
  }
  jail::CgroupLimits limits = limits_of(size);
  limits.cpu_weight = tenant.empty() ? kBeingMade : kEqual;
  auto made = tree.make(group_of(tenant, machine), limits);
  if (made || made.error().os_error() != EINVAL || !limits.cpu_percent) return made;
  // On v1, more than a group above has is refused, and would change nothing.
  limits.cpu_percent.reset();
  return tree.make(group_of(tenant, machine), limits);
}

std::vector<std::string> Shares::groups_of(const std::string& machine) const {
  std::vector<std::string> groups;
  for (const std::string& above : tree_->below("")) {
    std::string group = above + "/" + kBoxPrefix + machine;
    if (tree_->exists(group)) groups.push_back(std::move(group));
  }
  return groups;
}

Result<std::vector<Fd>> Shares::enter(const std::string& machine, const std::string& tenant,
                                      const engine::MachineSize& size) {
  std::lock_guard lock(mutex_);
  if (!tree_) return std::vector<Fd>();
  std::string whose = weights_ ? tenant : "";
  HAKO_TRYV(make(*tree_, machine, whose, size));
  return tree_->doors(group_of(whose, machine));
}

void Shares::ready(const std::string& machine) {
  std::lock_guard lock(mutex_);
  if (!weights_ || !weights_->exists(group_of("", machine))) return;
  auto made = weights_->make(group_of("", machine), share_of(kEqual));
  if (!made) warn("share_not_given", machine, made.error());
}

void Shares::move(const std::string& machine, const std::string& tenant, pid_t pid,
                  const engine::MachineSize& size) {
  std::lock_guard lock(mutex_);
  if (!weights_ || tenant.empty()) return;
  bool from_pool = tree_->exists(group_of("", machine));
  // Born there, or moved there by an earlier run: its limits stay those of then.
  if (!from_pool && tree_->exists(group_of(tenant, machine))) return;
  // Each hierarchy that it changes costs all processes of the host a wait, and to the others it
  // makes no difference whose it is. One of an earlier run may have no group at all.
  jail::CgroupTree& where = from_pool ? *weights_ : *tree_;
  auto moved = make(where, machine, tenant, size);
  if (moved) moved = where.add(group_of(tenant, machine), pid);
  if (moved && from_pool) moved = where.remove(group_of("", machine));
  if (!moved) warn("share_not_given", machine, moved.error());
}

std::optional<std::string> Shares::out_of_memory(const std::string& machine) {
  std::lock_guard lock(mutex_);
  if (!tree_) return std::nullopt;
  for (const std::string& group : groups_of(machine))
    if (auto why = why_killed(tree_->memory_use(group))) return why;
  return std::nullopt;
}

void Shares::leave(const std::string& machine) {
  std::lock_guard lock(mutex_);
  if (!tree_) return;
  for (const std::string& group : groups_of(machine)) {
    auto removed = tree_->remove(group);
    std::string above = group.substr(0, group.find('/'));
    if (removed && above != kPool && tree_->below(above).empty()) removed = tree_->remove(above);
    if (!removed) warn("share_not_removed", machine, removed.error());
  }
}

int Shares::sweep(const std::set<std::string>& machines) {
  std::lock_guard lock(mutex_);
  if (!tree_) return 0;
  int removed = 0;
  std::set<std::string> suspects;
  // Once is not enough: `machines` are those of a moment ago.
  auto remove = [&](const std::string& group) {
    suspects.insert(group);
    if (!suspects_.contains(group) || !tree_->remove(group)) return;
    suspects.erase(group);
    ++removed;
  };
  for (const std::string& above : tree_->below("")) {
    if (above != kPool && !above.starts_with(kTenantPrefix)) continue;
    for (const std::string& box : tree_->below(above)) {
      if (!box.starts_with(kBoxPrefix)) continue;
      std::string machine = box.substr(sizeof kBoxPrefix - 1);
      if (!machines.contains(machine)) remove(above + "/" + box);
    }
    if (above != kPool && tree_->below(above).empty() && tree_->remove(above)) ++removed;
  }
  suspects_ = std::move(suspects);
  return removed;
}

void Shares::close() {
  std::lock_guard lock(mutex_);
  if (!tree_) return;
  // What boxes still use stays.
  (void)tree_->remove_all();
  tree_.reset();
  weights_.reset();
}

int sweep_shares(const config::Config& config, const std::set<std::string>& kept) {
  auto tree = open_tree(config);
  if (!tree) return 0;
  int removed = 0;
  auto remove = [&](const std::string& group) {
    // While no node was there, nobody was told.
    if (auto why = why_killed(tree.value().memory_use(group)))
      log_warn("machine_out_of_memory", {{"group", group}, {"error", *why}});
    auto done = tree.value().remove(group);
    if (!done) log_error("share_not_removed", {{"error", done.error().message()}});
    if (done) ++removed;
  };
  for (const std::string& group : tree.value().below("")) {
    bool used = false;
    for (const std::string& box : tree.value().below(group)) {
      bool keep = box.starts_with(kBoxPrefix) && kept.contains(box.substr(sizeof kBoxPrefix - 1));
      if (!keep) remove(group + "/" + box);
      used = used || keep;
    }
    if (!used) remove(group);
  }
  if (kept.empty()) (void)tree.value().remove_all();
  return removed;
}

}  // namespace hako::node
