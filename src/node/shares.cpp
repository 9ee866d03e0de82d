#include "node/shares.h"

#include <filesystem>

#include "base/log.h"
#include "image/checksum.h"

namespace hako::node {
namespace {

constexpr char kPool[] = "pool";
constexpr char kTenantPrefix[] = "tenant-";
constexpr char kBoxPrefix[] = "box-";
constexpr int kEqual = 100;
/// Making clones ready is work for whoever creates next, and one of them at a time. With a tenant's
/// part, those of everybody would be late as soon as one tenant is busy.
constexpr int kForAll = 400;

/// Names the hako of this run folder among those of the machine.
std::string tree_of(const config::Config& config) {
  std::error_code unknown;
  auto path = std::filesystem::weakly_canonical(config.run_dir, unknown);
  return "hako/" + image::sha256_of_text(unknown ? config.run_dir : path.string()).substr(0, 16);
}

Result<jail::CgroupTree> open_tree(const config::Config& config) {
  return jail::CgroupTree::open(tree_of(config), {"cpu"});
}

std::string group_of(const std::string& tenant) {
  return kTenantPrefix + tenant;
}

std::string group_of(const std::string& tenant, const std::string& machine) {
  return group_of(tenant) + "/" + kBoxPrefix + machine;
}

jail::CgroupLimits share_of(int weight) {
  jail::CgroupLimits limits;
  limits.cpu_weight = weight;
  return limits;
}

void warn(std::string_view event, const std::string& machine, const Error& error) {
  log_warn(event, {{"machine", machine}, {"error", error.message()}});
}

}  // namespace

void Shares::open() {
  std::lock_guard lock(mutex_);
  if (!config_.cpu_shares) return;
  auto opened = open_tree(config_);
  Result<void> made = opened ? opened.value().make(kPool, share_of(kForAll)) : opened.error();
  if (!made) {
    log_warn("no_cpu_shares", {{"error", made.error().message()},
                               {"effect", "tenants with many boxes get more of the processors"}});
    return;
  }
  tree_.emplace(std::move(opened).value());
  log_info("cpu_shares", {{"controllers", tree_->describe()}});
}

Result<void> Shares::make(const std::string& machine, const std::string& tenant) {
  HAKO_TRYV(tree_->make(group_of(tenant), share_of(kEqual)));
  HAKO_TRYV(tree_->make(group_of(tenant, machine), share_of(kEqual)));
  tenants_[machine] = tenant;
  return ok();
}

std::vector<Fd> Shares::enter(const std::string& machine, const std::string& tenant) {
  std::lock_guard lock(mutex_);
  if (!tree_) return {};
  Result<void> made = ok();
  if (!tenant.empty()) made = make(machine, tenant);
  auto doors = made ? tree_->doors(tenant.empty() ? kPool : group_of(tenant, machine))
                    : Result<std::vector<Fd>>(made.error());
  if (doors) return std::move(doors).value();
  warn("share_not_given", machine, doors.error());
  return {};
}

void Shares::move(const std::string& machine, const std::string& tenant, pid_t pid) {
  std::lock_guard lock(mutex_);
  if (!tree_ || tenant.empty()) return;
  auto moved = make(machine, tenant);
  if (moved) moved = tree_->add(group_of(tenant, machine), pid);
  if (!moved) warn("share_not_given", machine, moved.error());
}

void Shares::leave(const std::string& machine) {
  std::lock_guard lock(mutex_);
  auto found = tenants_.find(machine);
  if (!tree_ || found == tenants_.end()) return;
  std::string tenant = found->second;
  tenants_.erase(found);
  auto removed = tree_->remove(group_of(tenant, machine));
  if (removed && tree_->below(group_of(tenant)).empty()) removed = tree_->remove(group_of(tenant));
  if (!removed) warn("share_not_removed", machine, removed.error());
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
  for (const std::string& tenant : tree_->below("")) {
    if (!tenant.starts_with(kTenantPrefix)) continue;
    for (const std::string& box : tree_->below(tenant)) {
      if (!box.starts_with(kBoxPrefix)) continue;
      std::string machine = box.substr(sizeof kBoxPrefix - 1);
      if (!machines.contains(machine)) remove(tenant + "/" + box);
    }
    if (tree_->below(tenant).empty() && tree_->remove(tenant)) ++removed;
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
}

int sweep_shares(const config::Config& config, const std::set<std::string>& kept) {
  auto tree = open_tree(config);
  if (!tree) return 0;
  int removed = 0;
  auto remove = [&](const std::string& group) {
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
