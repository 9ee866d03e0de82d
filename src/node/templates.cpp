#include "node/templates.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/folder.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/durable.h"
#include "engine/snapshot_store.h"
#include "image/disk_checksum.h"
#include "node/json_fields.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

boost::json::object to_json(const Template& what) {
  return {{"name", what.name},
          {"memory_mib", what.size.memory_mib},
          {"vcpus", what.size.vcpus},
          {"disk_mib", what.disk_mib},
          {"revision", what.revision},
          {"root", what.root},
          {"defaults", to_json(what.startup.defaults)},
          {"start_cmd", what.startup.start_cmd},
          {"ready_cmd", what.startup.ready_cmd},
          {"created_ms", to_unix_ms(what.created)}};
}

Result<Template> parse_template(const std::string& text) {
  boost::json::error_code error;
  auto value = boost::json::parse(text, error);
  if (error || !value.is_object())
    return Error(ErrorCode::corrupted, "template record is not a JSON object");
  Fields fields(value.get_object());
  Template what;
  what.name = fields.text("name");
  what.size.memory_mib = static_cast<int>(fields.integer("memory_mib"));
  what.size.vcpus = static_cast<int>(fields.integer("vcpus"));
  what.disk_mib = static_cast<int>(fields.integer("disk_mib"));
  what.revision = fields.text("revision");
  what.root = fields.text_or("root", "");
  HAKO_TRY(what.startup.defaults, parse_defaults(fields.object_or_empty("defaults")));
  what.startup.start_cmd = fields.text_or("start_cmd", "");
  what.startup.ready_cmd = fields.text_or("ready_cmd", "");
  what.created = from_unix_ms(fields.integer("created_ms"));
  if (fields.problem()) return Error(ErrorCode::corrupted, *fields.problem());
  return what;
}

/// Snapshots of sizes that requests asked for beside the templates' own; each holds the memory of a
/// booted machine and as much disk. The one made longest ago goes first.
constexpr size_t kMostAskedSizes = 6;

/// Snapshots of built templates that stay in memory; the one used longest ago is read from disk
/// when it is asked for again. (Its clones and its pool keep the memory for as long as they live.)
constexpr size_t kMostLoaded = 8;

/// What is in a folder of ours under its own name: what is unfinished has a dot in front.
Result<std::set<std::string>> finished_in(const std::string& folder) {
  HAKO_TRY(auto names, names_in(folder));
  std::erase_if(names, [](const std::string& name) { return name.starts_with("."); });
  return names;
}

/// A snapshot on disk is bound to what it was made from.
std::string binding_of(const Template& what, const config::Config& config) {
  return boost::json::serialize(boost::json::object{
      {"template", what.name}, {"revision", what.revision}, {"kernel_args", config.kernel_args}});
}

}  // namespace

Templates::Templates(Context& context, Bases& bases, image::Image image)
    : context_(context), bases_(bases), image_(std::move(image)) {}

Result<void> Templates::load() {
  const config::Config& config = context_.config;
  Template base;
  base.name = image_.name;
  base.size = {config.vcpus, config.memory_mib};
  base.disk_mib = config.disk_mib;
  base.revision = image_.digest.substr(0, 24) + "-" + std::to_string(config.disk_mib);
  base.created = WallClock::now();
  templates_[base.name] = base;

  HAKO_TRY(auto folders, finished_in(context_.template_dir()));
  for (const std::string& folder : folders) {
    auto text = read_file(context_.template_dir() + "/" + folder + "/template.json");
    // It has one as long as it has its name; this one is on its way out.
    if (!text && text.error().code() == ErrorCode::not_found) {
      std::error_code ignored;
      fs::remove_all(context_.template_dir() + "/" + folder, ignored);
      continue;
    }
    // Says nothing about the template.
    if (!text && text.error().code() == ErrorCode::resource_exhausted) return text.error();
    auto what = text ? parse_template(text.value()) : Result<Template>(text.error());
    Result<void> usable = what ? check(what.value(), folder) : Result<void>(what.error());
    if (!usable) {
      log_warn("template_left_out", {{"template", folder}, {"error", usable.error().message()}});
      left_out_[folder] = what ? std::optional(what.value().root) : std::nullopt;
      continue;
    }
    what.value().disk = context_.template_dir() + "/" + folder + "/disk.raw";
    templates_[folder] = std::move(what).value();
  }
  remove_unused_roots();
  return sort_snapshots();
}

/// Knows again which snapshots are of sizes that were asked for, and which are of no template.
Result<void> Templates::sort_snapshots() {
  HAKO_TRY(auto keys, finished_in(context_.snapshot_dir()));
  std::multimap<fs::file_time_type, std::string> asked;
  for (const std::string& folder : keys) {
    std::string name = folder.substr(0, folder.rfind('.'));
    const Template* what = find(name);
    std::error_code unknown;
    if (what && folder != key(name, what->size))
      asked.emplace(fs::last_write_time(context_.snapshot_dir() + "/" + folder, unknown), folder);
    if (!what && !left_out_.contains(name)) of_no_template_.push_back(folder);
  }
  for (auto& [made, folder] : asked) asked_sizes_.push_back(std::move(folder));
  return ok();
}

Task<void> Templates::collect() {
  for (const std::string& folder : std::exchange(of_no_template_, {})) {
    bool retired = co_await retire(folder);
    if (retired) co_await remove_snapshot(folder);
  }
}

Task<void> Templates::remove_snapshot(std::string key) {
  auto work = [folder = context_.snapshot_dir() + "/" + key] {
    std::error_code ignored;
    return fs::remove_all(folder, ignored);
  };
  co_await run_blocking(context_.blocking, work);
}

Result<void> Templates::check(const Template& what, const std::string& folder) const {
  if (what.name != folder) return Error(ErrorCode::corrupted, "its record has another name");
  // What it was built on is part of what it is: on another base its disk means nothing.
  if (what.root.empty() && !what.revision.ends_with("@" + templates_.at(image_.name).revision))
    return Error(ErrorCode::failed_precondition, "it was built on another base image");
  std::error_code error;
  if (!what.root.empty() && !fs::exists(context_.root_dir() + "/" + what.root, error))
    return Error(ErrorCode::not_found, "its root file system is missing");
  return ok();
}

void Templates::remove_unused_roots() {
  std::set<std::string> used;
  for (const auto& [name, root] : left_out_) {
    // Which one it has could not be read.
    if (!root) return;
    used.insert(*root);
  }
  for (const auto& [name, what] : templates_) used.insert(what.root);
  std::error_code error;
  for (const auto& entry : entries_of(context_.root_dir(), error))
    if (!used.contains(entry.path().filename()) &&
        !context_.roots_in_use.contains(entry.path().filename()))
      fs::remove(entry.path(), error);
}

const Template* Templates::find(const std::string& name) const {
  auto found = templates_.find(name);
  return found == templates_.end() ? nullptr : &found->second;
}

std::vector<Template> Templates::list() const {
  std::vector<Template> all;
  for (const auto& [name, what] : templates_) all.push_back(what);
  return all;
}

Task<Result<Bases::Base>> Templates::load_folder(std::string key) {
  const Template* what = find(key.substr(0, key.rfind('.')));
  if (!what) co_return Error(ErrorCode::not_found, "snapshot " + key + " is of no template");
  auto work = [folder = context_.snapshot_dir() + "/" + key] {
    return engine::load_snapshot(folder + "/memory");
  };
  HAKO_CO_TRY(auto memory, co_await run_blocking(context_.blocking, work));
  co_return take_in(*what, std::move(memory), context_.snapshot_dir() + "/" + key);
}

Task<Result<Bases::Base>> Templates::base(std::string id) {
  auto known = co_await bases_.find(id);
  if (known || known.error().code() != ErrorCode::not_found) co_return std::move(known);
  std::error_code error;
  for (const auto& entry : entries_of(context_.snapshot_dir(), error)) {
    auto of = read_file(entry.path().string() + "/id");
    if (of && of.value() == id) co_return co_await load_folder(entry.path().filename());
  }
  co_return known.error();
}

Task<bool> Templates::retire(std::string key) {
  auto id = read_file(context_.snapshot_dir() + "/" + key + "/id");
  if (!id) co_return true;
  bool used = std::ranges::any_of(context_.machines, [&](const auto& entry) {
    return entry.second->record().vmm.base == id.value();
  });
  if (!used) co_return true;
  auto base = co_await bases_.find(id.value());
  if (!base) base = co_await load_folder(key);
  Result<void> kept = base ? ok() : Result<void>(base.error());
  if (kept) kept = co_await bases_.keep(base.value());
  if (!kept)
    log_warn("snapshot_not_kept", {{"snapshot", key}, {"error", kept.error().message()}});
  co_return kept.has_value();
}

std::vector<std::string> Templates::snapshots_of(const std::string& name) const {
  std::vector<std::string> keys;
  std::error_code error;
  for (const auto& entry : entries_of(context_.snapshot_dir(), error))
    if (entry.path().filename().string().starts_with(name + "."))
      keys.push_back(entry.path().filename());
  return keys;
}

Templates::State Templates::state(const std::string& name) const {
  State state;
  const Template* what = find(name);
  if (!what) return {"unknown", ""};
  auto found = variants_.find(key(name, what->size));
  // Of a built one the snapshot is on disk, and is read when somebody asks for a box.
  if (!what->disk.empty() && (found == variants_.end() || found->second->error.empty()))
    return {"ready", ""};
  if (found == variants_.end()) return {"building", ""};
  if (found->second->loaded) return {"ready", ""};
  if (!found->second->error.empty()) return {"failed", found->second->error};
  return {"building", ""};
}

std::string Templates::key(const std::string& name, engine::MachineSize size) const {
  return name + "." + std::to_string(size.memory_mib) + "m" + std::to_string(size.vcpus) + "c";
}

Templates::Variant& Templates::variant(const std::string& name, engine::MachineSize size) {
  auto& variant = variants_[key(name, size)];
  if (!variant) variant = std::make_shared<Variant>();
  return *variant;
}

Task<Result<std::shared_ptr<const LoadedSnapshot>>> Templates::snapshot(std::string name,
                                                                        engine::MachineSize size,
                                                                        std::string tenant) {
  const Template* found = find(name);
  if (!found) co_return Error(ErrorCode::not_found, "template '" + name + "' does not exist");
  Template what = *found;
  variant(name, size);
  std::shared_ptr<Variant> wanted = variants_[key(name, size)];
  if (!what.disk.empty()) note_use(key(name, size));
  if (wanted->loaded) co_return wanted->loaded;
  auto turn = co_await wanted->making.take();
  if (wanted->loaded) co_return wanted->loaded;
  // One after the other: boots are the dearest thing a request can cause.
  auto boot_turn = co_await boots_.take();
  auto made = co_await load_or_make(what, size, std::move(tenant));
  wanted->error = made ? "" : made.error().message();
  if (!made) co_return made.error().with_context("prepare template '" + name + "'");
  wanted->loaded = made.value();
  co_await forget_old_variants(key(name, size));
  co_return std::move(made);
}

void Templates::note_use(const std::string& used) {
  std::erase(recently_used_, used);
  recently_used_.push_back(used);
  while (recently_used_.size() > kMostLoaded) {
    auto oldest = variants_.find(recently_used_.front());
    if (oldest != variants_.end()) oldest->second->loaded.reset();
    recently_used_.pop_front();
  }
}

Task<void> Templates::forget_old_variants(std::string newest) {
  asked_sizes_.erase(std::remove(asked_sizes_.begin(), asked_sizes_.end(), newest),
                     asked_sizes_.end());
  bool is_default = std::any_of(templates_.begin(), templates_.end(), [&](const auto& entry) {
    return key(entry.first, entry.second.size) == newest;
  });
  if (!is_default) asked_sizes_.push_back(newest);
  while (asked_sizes_.size() > kMostAskedSizes) {
    std::string oldest = asked_sizes_.front();
    asked_sizes_.pop_front();
    variants_.erase(oldest);
    co_await retire(oldest);
    co_await remove_snapshot(oldest);
  }
}

Task<Result<std::shared_ptr<const LoadedSnapshot>>> Templates::load_or_make(
    const Template& what, engine::MachineSize size, std::string tenant) {
  auto loaded = co_await load_from_disk(what, size);
  if (loaded) co_return std::move(loaded);
  if (loaded.error().code() != ErrorCode::not_found)
    log_warn("snapshot_made_again",
             {{"template", what.name}, {"reason", loaded.error().message()}});

  HAKO_CO_TRY(auto disk, co_await boot_disk(what));
  std::string kept = context_.snapshot_dir() + "/.disk-" + random_hex(6);
  Vm::ColdBoot boot = cold_boot(what, size, disk);
  boot.tenant = std::move(tenant);
  auto built = co_await make_snapshot(context_, std::move(boot), what.startup, kept);
  if (disk != what.disk) ::unlink(disk.c_str());
  if (!built) {
    ::unlink(kept.c_str());
    co_return built.error();
  }
  co_return co_await keep(what, size, std::move(built).value(), kept);
}

Task<Result<std::shared_ptr<const LoadedSnapshot>>> Templates::load_from_disk(
    const Template& what, engine::MachineSize size) {
  std::string folder = context_.snapshot_dir() + "/" + key(what.name, size);
  auto work = [this, what, folder]() -> Result<engine::Snapshot> {
    HAKO_TRY(auto binding, read_file(folder + "/binding.json"));
    if (binding != binding_of(what, context_.config))
      return Error(ErrorCode::failed_precondition, "it was made from another revision");
    HAKO_TRY(auto snapshot, engine::load_snapshot(folder + "/memory"));
    if (!snapshot.fingerprint.compatible_with(context_.engine.fingerprint()))
      return Error(ErrorCode::failed_precondition,
                   "it was made with another VMM, accelerator or CPU");
    HAKO_TRYV(image::verify_checksum(folder + "/disk.raw", folder + "/disk.sum"));
    return snapshot;
  };
  auto memory = co_await run_blocking(context_.blocking, work);
  if (!memory) co_return memory.error();
  co_return take_in(what, std::move(memory).value(), folder);
}

Task<Result<std::shared_ptr<const LoadedSnapshot>>> Templates::keep(const Template& what,
                                                                    engine::MachineSize size,
                                                                    engine::Snapshot memory,
                                                                    std::string disk_being_kept) {
  std::string folder = context_.snapshot_dir() + "/" + key(what.name, size);
  std::string temporary = context_.snapshot_dir() + "/.new-" + random_hex(6);
  co_await retire(key(what.name, size));
  // Written beside and renamed, so that a crash leaves the old snapshot or the new one.
  auto work = [&]() -> Result<void> {
    std::error_code error;
    fs::create_directory(temporary, error);
    if (error) return Error::from_errno(error.value(), "create " + temporary);
    HAKO_TRYV(engine::save_snapshot(memory, temporary + "/memory"));
    HAKO_TRYV(write_file_atomically(temporary + "/id", engine::snapshot_id(memory), 0600));
    fs::rename(disk_being_kept, temporary + "/disk.raw", error);
    if (error) return Error::from_errno(error.value(), "keep scratch disk");
    HAKO_TRYV(image::record_checksum(temporary + "/disk.raw", temporary + "/disk.sum"));
    HAKO_TRYV(write_file_atomically(temporary + "/binding.json", binding_of(what, context_.config),
                                    0600));
    return engine::put_in_place(temporary, folder);
  };
  auto kept = co_await run_blocking(context_.blocking, work);
  if (!kept) {
    auto clean = [&] {
      std::error_code ignored;
      fs::remove_all(temporary, ignored);
      fs::remove(disk_being_kept, ignored);
      return true;
    };
    co_await run_blocking(context_.blocking, clean);
    co_return kept.error().with_context("keep snapshot");
  }
  co_return take_in(what, std::move(memory), folder);
}

Result<Bases::Base> Templates::take_in(const Template& what, engine::Snapshot memory,
                                       const std::string& folder) {
  auto loaded = std::make_shared<LoadedSnapshot>();
  loaded->id = engine::snapshot_id(memory);
  loaded->memory = std::move(memory);
  HAKO_TRY(loaded->rootfs, open_file(rootfs_of(what), O_RDONLY));
  HAKO_TRY(loaded->disk, open_file(folder + "/disk.raw", O_RDONLY));
  loaded->template_name = what.name;
  loaded->revision = what.revision;
  loaded->disk_mib = what.disk_mib;
  loaded->defaults = what.startup.defaults;
  Bases::Base base = std::move(loaded);
  bases_.note(base);
  return base;
}

std::string Templates::rootfs_of(const Template& what) const {
  return what.root.empty() ? image_.rootfs : context_.root_dir() + "/" + what.root;
}

Vm::ColdBoot Templates::cold_boot(const Template& what, engine::MachineSize size,
                                  std::string disk) const {
  Vm::ColdBoot boot;
  boot.image.kernel = image_.kernel;
  boot.image.initrd = image_.initrd;
  boot.image.cmdline = context_.config.kernel_args;
  boot.rootfs = rootfs_of(what);
  boot.disk = std::move(disk);
  boot.template_name = what.name;
  boot.size = size;
  boot.disk_mib = what.disk_mib;
  return boot;
}

Vm::ColdBoot Templates::boot_of(const CheckpointRecord& of, std::string rootfs,
                                std::string disk) const {
  Template what;
  what.name = of.template_name;
  what.disk_mib = of.disk_mib;
  Vm::ColdBoot boot = cold_boot(what, of.size, std::move(disk));
  boot.rootfs = std::move(rootfs);
  return boot;
}

Task<Result<std::string>> Templates::boot_disk(const Template& what) {
  if (!what.disk.empty()) co_return what.disk;
  std::string path = context_.snapshot_dir() + "/.scratch-" + random_hex(6);
  auto work = [path, mib = what.disk_mib] { return image::make_scratch(path, mib); };
  auto made = co_await run_blocking(context_.blocking, work);
  if (!made) {
    ::unlink(path.c_str());
    co_return made.error();
  }
  co_return path;
}

Task<Result<Vm::ColdBoot>> Templates::boot_for_build(const Template& what) {
  HAKO_CO_TRY(auto disk, co_await boot_disk(what));
  co_return cold_boot(what, what.size, std::move(disk));
}

Task<Result<Template>> Templates::add(Template what, engine::Snapshot memory, std::string disk) {
  what.revision = random_hex(8) + "@" + templates_.at(image_.name).revision;
  what.created = WallClock::now();
  // The disk is the template; the snapshot only makes it quick. Written beside and renamed, so that
  // a failure leaves the template as it was.
  std::string folder = context_.template_dir() + "/" + what.name;
  std::string fresh = context_.template_dir() + "/.new-" + random_hex(6);
  auto write = [&]() -> Result<void> {
    std::error_code error;
    fs::create_directory(fresh, error);
    if (error) return Error::from_errno(error.value(), "create " + fresh);
    HAKO_TRY(auto source, open_file(disk, O_RDONLY));
    HAKO_TRY(auto target, open_file(fresh + "/disk.raw", O_RDWR | O_CREAT | O_EXCL, 0600));
    HAKO_TRY(auto method, clone_file(source.get(), target.get()));
    (void)method;
    HAKO_TRYV(write_file_atomically(fresh + "/template.json", boost::json::serialize(to_json(what)),
                                    0600));
    return engine::put_in_place(fresh, folder);
  };
  auto work = [&]() -> Result<void> {
    auto done = write();
    std::error_code ignored;
    if (!done) fs::remove_all(fresh, ignored);
    return done;
  };
  auto written = co_await run_blocking(context_.blocking, work);
  if (!written) {
    ::unlink(disk.c_str());
    co_return written.error().with_context("keep template '" + what.name + "'");
  }
  what.disk = folder + "/disk.raw";
  auto loaded = co_await keep(what, what.size, std::move(memory), disk);
  if (!loaded)
    log_warn("template_without_snapshot",
             {{"template", what.name}, {"error", loaded.error().message()}});
  // Only now is it there for others, who may remove it as soon as it is.
  templates_[what.name] = what;
  left_out_.erase(what.name);
  std::erase_if(variants_,
                [&](const auto& entry) { return entry.first.starts_with(what.name + "."); });
  if (loaded) {
    variant(what.name, what.size).loaded = loaded.value();
    note_use(key(what.name, what.size));
  }
  co_return what;
}

Task<Result<void>> Templates::remove(std::string name) {
  if (name == image_.name)
    co_return Error(ErrorCode::failed_precondition,
                    "'" + name + "' is the installed image and cannot be removed");
  if (!find(name) && !left_out_.contains(name))
    co_return Error(ErrorCode::not_found, "template '" + name + "' does not exist");
  for (const std::string& key : snapshots_of(name)) co_await retire(key);
  templates_.erase(name);
  left_out_.erase(name);
  std::erase_if(variants_, [&](const auto& entry) { return entry.first.starts_with(name + "."); });
  auto work = [this, name] {
    std::error_code ignored;
    // First out of sight: half of one must not be found by its name.
    std::string gone = context_.template_dir() + "/.gone-" + random_hex(6);
    fs::rename(context_.template_dir() + "/" + name, gone, ignored);
    fs::remove_all(gone, ignored);
    for (const std::string& key : snapshots_of(name))
      fs::remove_all(context_.snapshot_dir() + "/" + key, ignored);
    return true;
  };
  co_await run_blocking(context_.blocking, work);
  remove_unused_roots();
  co_return ok();
}

}  // namespace hako::node
