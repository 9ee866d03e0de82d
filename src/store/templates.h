// What the API remembers of templates: their names, builds and tags.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hako::store {

/// A name under which boxes can be made. Times are Unix milliseconds.
struct TemplateRecord {
  std::string id;
  std::string name;  ///< unique within its tenant
  bool is_public = false;
  int64_t created_ms = 0;
  int64_t updated_ms = 0;
  std::string key_id;  ///< which key made it
  std::string label = "public";  ///< the highest of what went into any of its builds
  std::string tenant = "default";
  std::string agent;  ///< the path of the agent that made it; empty: the whole tenant's

  bool operator==(const TemplateRecord&) const = default;
};

/// waiting: asked for, and perhaps being uploaded to; building; and how it ended.
enum class BuildState { waiting, building, ready, error };
std::string_view to_string(BuildState state);

/// One build of a template. Sizes in MiB, 0 where the template it starts from decides.
struct BuildRecord {
  std::string id;  ///< also the node's name for what comes out of it
  std::string template_id;
  BuildState state = BuildState::waiting;
  bool is_image = false;  ///< made from an image archive: what `fromImage` may name
  int vcpus = 0;
  int memory_mib = 0;
  int disk_mib = 0;
  int64_t created_ms = 0;
  int64_t finished_ms = 0;
  std::vector<std::string> tags;  ///< to be given when it is ready
  std::string reason;             ///< of an error
  std::string step;               ///< at which it came
  std::string log;                ///< a JSON array of entries, once it has ended

  bool operator==(const BuildRecord&) const = default;
};

struct TagRecord {
  std::string tag;
  std::string build_id;
  int64_t created_ms = 0;

  bool operator==(const TagRecord&) const = default;
};

/// The rules of Store (store.h) hold.
class TemplateStore {
 public:
  virtual ~TemplateStore() = default;

  /// Of all tenants, ordered by name.
  virtual Result<std::vector<TemplateRecord>> all_templates() = 0;
  /// By its id, whosever it is, or by the name it has in that tenant; what is that tenant's comes
  /// first.
  virtual Result<std::optional<TemplateRecord>> find_template(const std::string& tenant,
                                                              const std::string& id_or_name) = 0;
  /// Adds it or replaces the one of the same id. already_exists if another of its tenant has its
  /// name; not_found for an unknown tenant. Tenant, agent, key and creation of an old one stay.
  virtual Result<void> put_template(const TemplateRecord& record) = 0;
  /// With its builds and tags. Whether there was one.
  virtual Result<bool> remove_template(const std::string& id) = 0;

  /// Adds it or replaces the one of the same id.
  virtual Result<void> put_build(const BuildRecord& record) = 0;
  virtual Result<std::optional<BuildRecord>> find_build(const std::string& id) = 0;
  /// Newest first, without their logs.
  virtual Result<std::vector<BuildRecord>> builds_of(const std::string& template_id) = 0;
  /// What a process that has ended left waiting or building becomes an error.
  virtual Result<void> fail_unfinished_builds(const std::string& reason) = 0;

  /// Newest first.
  virtual Result<std::vector<TagRecord>> tags_of(const std::string& template_id) = 0;
  virtual Result<void> set_tags(const std::string& template_id, const std::string& build_id,
                                const std::vector<std::string>& tags, int64_t now_ms) = 0;
  virtual Result<void> remove_tags(const std::string& template_id,
                                   const std::vector<std::string>& tags) = 0;
};

}  // namespace hako::store
