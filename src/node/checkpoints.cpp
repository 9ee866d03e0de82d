#include "node/checkpoints.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/folder.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/checkpoint_store.h"
#include "engine/durable.h"
#include "node/json_fields.h"
#include "node/saved_disk.h"
#include "node/vm.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

boost::json::object to_json(const CheckpointRecord& record) {
  return {{"id", record.id},
          {"tenant", record.tenant},
          {"box", record.box},
          {"template", record.template_name},
          {"memory_mib", record.size.memory_mib},
          {"vcpus", record.size.vcpus},
          {"disk_mib", record.disk_mib},
          {"memory", record.memory},
          {"on_base", record.on_base},
          {"defaults", to_json(record.defaults)},
          {"envs", record.envs},
          {"base", record.base},
          {"generation", record.generation},
          {"created_ms", to_unix_ms(record.created)},
          {"disk_sum", record.disk_sum}};
}

Result<CheckpointRecord> parse_checkpoint(const std::string& text) {
  boost::json::error_code error;
  auto value = boost::json::parse(text, error);
  if (error || !value.is_object())
    return Error(ErrorCode::corrupted, "checkpoint.json is not a JSON object");
  const boost::json::object& object = value.get_object();
  Fields fields(object);
  CheckpointRecord record;
  record.id = fields.text("id");
  record.tenant = fields.text("tenant");
  record.box = fields.text("box");
  record.template_name = fields.text("template");
  record.size.memory_mib = static_cast<int>(fields.integer("memory_mib"));
  record.size.vcpus = static_cast<int>(fields.integer("vcpus"));
  record.disk_mib = static_cast<int>(fields.integer("disk_mib"));
  record.memory = fields.boolean("memory");
  record.on_base = fields.boolean("on_base");
  HAKO_TRY(record.defaults, parse_defaults(fields.object_or_empty("defaults")));
  record.envs = fields.object_or_empty("envs");
  record.base = fields.text("base");
  record.generation = static_cast<int>(fields.integer("generation"));
  record.created = from_unix_ms(fields.integer("created_ms"));
  record.disk_sum = fields.text("disk_sum");
  if (fields.problem()) return Error(ErrorCode::corrupted, "checkpoint.json: " + *fields.problem());
  return record;
}

int64_t bytes_in(const std::string& folder) {
  int64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(folder, error)) {
    struct stat info {};
    if (::lstat(entry.path().c_str(), &info) == 0) bytes += int64_t(info.st_blocks) * 512;
  }
  return bytes;
}

Result<CheckpointRecord> read_checkpoint(const std::string& folder, const engine::Seal& seal) {
  HAKO_TRY(auto text, load_text(folder + "/record", seal));
  HAKO_TRY(auto record, parse_checkpoint(text));
  if (record.id != fs::path(folder).filename())
    return Error(ErrorCode::corrupted, "its record has another name");
  record.bytes = bytes_in(folder);
  return record;
}

/// Ids of the snapshots that templates have on disk.
std::set<std::string> template_snapshots(const std::string& folder) {
  std::set<std::string> ids;
  std::error_code error;
  for (const auto& entry : entries_of(folder, error))
    if (auto id = read_file(entry.path().string() + "/id")) ids.insert(id.value());
  return ids;
}

}  // namespace

engine::Seal Checkpoints::seal_of(const std::string& id, const char* part) const {
  return {std::string(part) + " of checkpoint " + id, context_.checkpoint_key};
}

std::string Checkpoints::temporary() const {
  return context_.checkpoint_dir() + "/.new-" + random_hex(6);
}

Task<Result<void>> Checkpoints::load() {
  using Found = std::vector<std::pair<std::string, Result<CheckpointRecord>>>;
  auto work = [this]() -> Result<Found> {
    Found found;
    std::error_code error;
    fs::directory_iterator entries(context_.checkpoint_dir(), error);
    if (error) return Error::from_errno(error.value(), "list " + context_.checkpoint_dir());
    for (; entries != fs::directory_iterator(); entries.increment(error)) {
      std::string name = entries->path().filename();
      if (name.starts_with(".")) {
        fs::remove_all(entries->path(), error);
        continue;
      }
      auto record = read_checkpoint(entries->path(), seal_of(name, "record"));
      // Says nothing about the checkpoint.
      if (!record && record.error().code() == ErrorCode::resource_exhausted) return record.error();
      found.emplace_back(name, std::move(record));
    }
    if (error) return Error::from_errno(error.value(), "list " + context_.checkpoint_dir());
    bases_.remove_unfinished();
    return found;
  };
  HAKO_CO_TRY(auto found, co_await run_blocking(context_.blocking, work));
  for (auto& [name, record] : found) {
    if (record) {
      records_[name] = std::move(record).value();
      continue;
    }
    records_[name].id = name;
    records_[name].problem = record.error().message();
    log_error("checkpoint_not_read", {{"checkpoint", name}, {"error", record.error().message()}});
  }
  co_return ok();
}

Task<Result<CheckpointRecord>> Checkpoints::save(CheckpointRecord record, const BoxState& state) {
  std::string id = record.id;
  if (!being_saved_.insert(id).second)
    co_return Error(ErrorCode::already_exists, "checkpoint " + id + " is being saved");
  struct Saving {
    std::set<std::string>& all;
    std::string id;
    ~Saving() { all.erase(id); }
  } saving{being_saved_, id};
  record.base = state.base->id;
  record.generation = state.generation;
  record.memory = state.memory;
  record.on_base = !state.machine;
  record.created = WallClock::now();
  // Until it is needed by record.
  Bases::Pin stays(bases_, record.base);
  HAKO_CO_TRYV(co_await bases_.keep(state.base));
  auto work = [&]() -> Result<void> {
    std::string fresh = temporary();
    std::error_code error;
    auto write = [&]() -> Result<void> {
      fs::create_directory(fresh, error);
      if (error) return Error::from_errno(error.value(), "create " + fresh);
      if (state.machine) {
        HAKO_TRYV(engine::save_checkpoint(*state.machine, fresh + "/machine",
                                          seal_of(id, "machine")));
      }
      HAKO_TRY(record.disk_sum,
               save_disk(state.disk.get(), fresh + "/disk", seal_of(id, "disk")));
      HAKO_TRYV(save_text(fresh + "/record", boost::json::serialize(to_json(record)),
                          seal_of(id, "record")));
      HAKO_TRYV(engine::sync_directory(fresh));
      record.bytes = bytes_in(fresh);
      return engine::put_in_place(fresh, folder_of(id));
    };
    auto written = write();
    if (!written) fs::remove_all(fresh, error);
    return written;
  };
  auto saved = co_await run_blocking(context_.blocking, work);
  if (!saved) co_return saved.error().with_context("save checkpoint " + id);
  records_[id] = record;
  co_return record;
}

Task<Result<BoxState>> Checkpoints::open(std::string id) {
  const CheckpointRecord* found = find(id);
  if (!found) co_return Error(ErrorCode::not_found, "checkpoint " + id + " does not exist");
  CheckpointRecord record = *found;
  if (!record.problem.empty())
    co_return Error(ErrorCode::corrupted, "checkpoint " + id + ": " + record.problem);
  BoxState state;
  state.generation = record.generation;
  state.memory = record.memory;
  // Whether or not the checkpoint is removed meanwhile.
  Bases::Pin stays(bases_, record.base);
  auto failed = [&](const Error& error) {
    if (!find(id)) return Error(ErrorCode::not_found, "checkpoint " + id + " does not exist");
    // Gone is not what its owner can be told: the checkpoint itself is there.
    bool gone = error.code() == ErrorCode::not_found;
    return Error(gone ? ErrorCode::corrupted : error.code(),
                 "checkpoint " + id + ": " + error.message());
  };
  auto base = co_await bases_.find(record.base);
  if (!base) co_return failed(base.error());
  state.base = std::move(base).value();
  auto work = [&]() -> Result<void> {
    std::string folder = folder_of(id);
    HAKO_TRY(state.disk, load_disk(folder + "/disk", record.disk_sum, seal_of(id, "disk"),
                                   context_.checkpoint_dir()));
    if (!record.memory || record.on_base) return ok();
    HAKO_TRY(auto machine, engine::load_checkpoint(folder + "/machine", seal_of(id, "machine")));
    if (machine.base != record.base)
      return Error(ErrorCode::corrupted, "it belongs to another snapshot");
    state.machine = std::make_shared<const engine::Checkpoint>(std::move(machine));
    return ok();
  };
  auto read = co_await run_blocking(context_.blocking, work);
  if (!read) co_return failed(read.error());
  co_return std::move(state);
}

Task<Result<void>> Checkpoints::remove(std::string id) {
  if (records_.erase(id) == 0)
    co_return Error(ErrorCode::not_found, "checkpoint " + id + " does not exist");
  auto work = [this, id]() -> Result<void> {
    // First out of sight: a half-removed one must not be found by its name.
    std::string gone = temporary();
    std::error_code error;
    fs::rename(folder_of(id), gone, error);
    if (error) return Error::from_errno(error.value(), "remove checkpoint " + id);
    fs::remove_all(gone, error);
    return engine::sync_directory(context_.checkpoint_dir());
  };
  auto removed = co_await run_blocking(context_.blocking, work);
  co_await collect();
  co_return removed;
}

Task<void> Checkpoints::collect() {
  // What one that cannot be read stands on is not known.
  bool all_read = std::ranges::all_of(
      records_, [](const auto& entry) { return entry.second.problem.empty(); });
  if (!all_read) co_return;
  // A machine's is wanted here only where its template no longer has it (Templates::retire).
  auto list = [this] { return template_snapshots(context_.snapshot_dir()); };
  std::set<std::string> of_templates = co_await run_blocking(context_.blocking, list);
  std::function<std::set<std::string>()> needed = [this, of_templates = std::move(of_templates)] {
    std::set<std::string> ids;
    for (const auto& [id, record] : records_) ids.insert(record.base);
    for (const auto& [machine, vm] : context_.machines)
      if (!of_templates.contains(vm->record().vmm.base)) ids.insert(vm->record().vmm.base);
    return ids;
  };
  co_await bases_.collect(std::move(needed));
}

const CheckpointRecord* Checkpoints::find(const std::string& id) const {
  auto found = records_.find(id);
  return found == records_.end() ? nullptr : &found->second;
}

std::vector<CheckpointRecord> Checkpoints::list() const {
  std::vector<CheckpointRecord> all;
  for (const auto& [id, record] : records_) all.push_back(record);
  return all;
}

}  // namespace hako::node
