#include "node/bases.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/folder.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/durable.h"
#include "engine/memory_file.h"
#include "engine/snapshot_store.h"
#include "image/checksum.h"
#include "node/json_fields.h"
#include "node/saved_disk.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

boost::json::object to_json(const LoadedSnapshot& base) {
  return {{"template", base.template_name},
          {"revision", base.revision},
          {"disk_mib", base.disk_mib},
          {"defaults", to_json(base.defaults)}};
}

Result<void> parse_into(LoadedSnapshot& base, const std::string& text) {
  boost::json::error_code error;
  auto value = boost::json::parse(text, error);
  if (error || !value.is_object())
    return Error(ErrorCode::corrupted, "base.json is not a JSON object");
  Fields fields(value.get_object());
  base.template_name = fields.text("template");
  base.revision = fields.text("revision");
  base.disk_mib = static_cast<int>(fields.integer("disk_mib"));
  HAKO_TRY(base.defaults, parse_defaults(fields.object_or_empty("defaults")));
  if (fields.problem()) return Error(ErrorCode::corrupted, "base.json: " + *fields.problem());
  return ok();
}

}  // namespace

void Bases::note(const Base& base) {
  std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
  known_[base->id] = base;
}

Task<Result<Bases::Base>> Bases::find(std::string id) {
  auto known = [this, &id] {
    auto found = known_.find(id);
    return found == known_.end() ? Base() : found->second.lock();
  };
  if (Base base = known()) co_return base;
  auto turn = co_await reading_.take();
  if (Base base = known()) co_return base;
  HAKO_CO_TRY(auto base, co_await load(id));
  note(base);
  co_return base;
}

std::string Bases::folder_of(const std::string& id) const {
  std::string folder = context_.base_dir() + "/" + id;
  if (context_.checkpoint_key)
    folder += "." + image::sha256_of_text("name of " + *context_.checkpoint_key).substr(0, 16);
  return folder;
}

engine::Seal Bases::seal_of(const std::string& id, const char* part) const {
  return {std::string(part) + " of snapshot " + id, context_.checkpoint_key};
}

/// A snapshot that was made of a box holds what the box held.
Result<void> Bases::save_memory(const LoadedSnapshot& base, const std::string& folder) const {
  const engine::Snapshot& memory = base.memory;
  if (!context_.checkpoint_key) return engine::save_snapshot(memory, folder + "/memory");
  engine::SnapshotMeta meta;
  meta.size = memory.size;
  meta.fingerprint = memory.fingerprint;
  meta.device_state_bytes = memory.device_state.size();
  // What is sealed needs no other checksums; these only have to be there.
  meta.device_state_sha256 = meta.memory_sha256 = image::sha256_of_text(memory.device_state);
  HAKO_TRYV(save_text(folder + "/meta", engine::format_snapshot_meta(meta),
                      seal_of(base.id, "meta")));
  HAKO_TRYV(save_text(folder + "/state", memory.device_state, seal_of(base.id, "state")));
  return save_sparse(memory.memory.get(), folder + "/pages", seal_of(base.id, "pages"));
}

Result<engine::Snapshot> Bases::load_memory(const std::string& id,
                                            const std::string& folder) const {
  if (!context_.checkpoint_key) return engine::load_snapshot(folder + "/memory");
  HAKO_TRY(auto text, load_text(folder + "/meta", seal_of(id, "meta")));
  HAKO_TRY(auto meta, engine::parse_snapshot_meta(text));
  engine::Snapshot memory;
  memory.size = meta.size;
  memory.fingerprint = meta.fingerprint;
  HAKO_TRY(memory.device_state, load_text(folder + "/state", seal_of(id, "state")));
  HAKO_TRY(memory.memory, engine::make_memory_file(meta.size.memory_mib));
  HAKO_TRYV(load_sparse(folder + "/pages", memory.memory.get(), seal_of(id, "pages")));
  HAKO_TRYV(engine::seal_memory_file(memory.memory.get(), meta.size.memory_mib));
  return memory;
}

Task<Result<Bases::Base>> Bases::load(std::string id) {
  auto work = [this, id]() -> Result<Base> {
    std::string folder = folder_of(id);
    auto base = std::make_shared<LoadedSnapshot>();
    base->id = id;
    HAKO_TRY(auto text, read_file(folder + "/base.json"));
    HAKO_TRYV(parse_into(*base, text));
    HAKO_TRY(base->memory, load_memory(id, folder));
    if (!base->memory.fingerprint.compatible_with(context_.engine.fingerprint()))
      return Error(ErrorCode::failed_precondition,
                   "it was made with another VMM, accelerator or CPU");
    HAKO_TRY(base->rootfs, open_file(folder + "/rootfs.raw", O_RDONLY));
    return Base(std::move(base));
  };
  auto loaded = co_await run_blocking(context_.blocking, work);
  if (!loaded) co_return loaded.error().with_context("snapshot " + id);
  co_return std::move(loaded);
}

Task<Result<void>> Bases::keep(Base base) {
  auto turn = co_await changing_.take();
  auto work = [this, base]() -> Result<void> {
    std::error_code error;
    if (fs::exists(folder_of(base->id), error)) return ok();
    std::string fresh = context_.base_dir() + "/.new-" + random_hex(6);
    auto write = [&]() -> Result<void> {
      fs::create_directory(fresh, error);
      if (error) return Error::from_errno(error.value(), "create " + fresh);
      HAKO_TRYV(save_memory(*base, fresh));
      HAKO_TRYV(link_or_copy(base->rootfs.get(), fresh + "/rootfs.raw"));
      HAKO_TRYV(write_file_atomically(fresh + "/base.json",
                                      boost::json::serialize(to_json(*base)), 0600));
      HAKO_TRYV(engine::sync_directory(fresh));
      return engine::publish(fresh, folder_of(base->id));
    };
    auto written = write();
    if (!written) fs::remove_all(fresh, error);
    return written;
  };
  auto kept = co_await run_blocking(context_.blocking, work);
  if (!kept) co_return kept.error().with_context("keep snapshot " + base->id);
  co_return ok();
}

Task<void> Bases::collect(std::function<std::set<std::string>()> needed) {
  auto turn = co_await changing_.take();
  std::set<std::string> stay = needed();
  stay.insert(pinned_.begin(), pinned_.end());
  auto work = [this, &stay] {
    int removed = 0;
    std::error_code error;
    for (const auto& entry : entries_of(context_.base_dir(), error)) {
      std::string name = entry.path().filename();
      if (name.starts_with(".") || stay.contains(name.substr(0, name.find('.')))) continue;
      // First out of sight: a half-removed one must not be taken for one that is kept.
      std::string gone = context_.base_dir() + "/.gone-" + random_hex(6);
      fs::rename(entry.path(), gone, error);
      if (!error) fs::remove_all(gone, error);
      ++removed;
    }
    return removed;
  };
  int removed = co_await run_blocking(context_.blocking, work);
  if (removed > 0) log_info("bases_removed", {{"count", removed}});
}

void Bases::remove_unfinished() const {
  std::error_code error;
  for (const auto& entry : entries_of(context_.base_dir(), error))
    if (entry.path().filename().string().starts_with(".")) fs::remove_all(entry.path(), error);
}

}  // namespace hako::node
