// Templates as users know them: names, tags, builds; and which of the node's templates they mean.
#pragma once

#include <boost/json.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/node_link.h"
#include "api/principal.h"
#include "api/template_names.h"
#include "api/template_recipe.h"
#include "config/config.h"
#include "store/async_store.h"

namespace hako::api {

/// A template of the node, and what it is called here.
struct ResolvedTemplate {
  std::string id;
  std::string name;
  std::string node_name;
  policy::Label label = policy::Label::public_data;
  policy::TemplateFacts facts;
};

/// What a box gets of one of the node's templates unless it asks for something else; 0: unknown.
struct TemplateSizes {
  int64_t memory_mib = 0, vcpus = 0, disk_mib = 0;
};

/// What the node says of one of its templates.
struct NodeTemplateFacts {
  std::string name;
  std::string revision;
  std::string state;
  std::string error;
  int64_t memory_mib = 0, vcpus = 0, disk_mib = 0, pooled = 0, created_ms = 0;
  StepContext defaults;
};

/// Of a build whose key or token went while it waited or ran.
Error no_longer_allowed();

/// Errors of all calls are fit for the user. A template belongs to a tenant, and to the agent that
/// has made it; what the permission of who asks does not let them read does not exist for them. A
/// name means, in this order: a template of one's own tenant, the installed image, a public template
/// of the tenant `default`, and "tenant/name" a public one of another. The installed image is in no
/// record, and public. A template has the highest label of what went into any of its builds.
/// Changing what one may only read is permission_denied. Thread: one executor.
class TemplateCatalog {
 public:
  static constexpr size_t kMostPulled = 32;

  TemplateCatalog(const config::Config& config, store::AsyncStore& store, NodeLink& node)
      : config_(config), store_(store), node_(node) {}

  struct Registered {
    store::TemplateRecord what;
    store::BuildRecord build;
  };

  bool is_default(const std::string& name) const { return name == config_.default_template; }
  /// What a box is to be made from: "id", "name", each with ":tag" or without. not_found.
  Task<Result<ResolvedTemplate>> resolve(std::string reference, Principal who);
  /// What `fromImage` means where an image of that name was imported.
  Task<Result<std::optional<ResolvedTemplate>>> find_imported(std::string reference, Principal who);

  /// Images that were pulled are templates, too, called "pulled/NAME" with their digest as the tag;
  /// nobody else can give such names, and their label stays public. Each tenant has its own, so that
  /// nobody learns what others have pulled. To ask for one is to use it.
  Task<Result<std::optional<ResolvedTemplate>>> find_pulled(std::string name, std::string digest,
                                                            Principal who);
  /// Registers the build of one, which `who` has asked for.
  Task<Result<Registered>> register_pulled(std::string name, std::string digest, Principal who);
  /// Removes a tenant's that were used longest ago, beyond kMostPulled. What was built on one stays.
  Task<Result<void>> forget_old_pulled(std::string tenant);

  /// not_found. Builds, and what they have printed, are for the template's own tenant.
  Task<Result<store::TemplateRecord>> find(std::string id_or_name, Principal who);
  Task<Result<store::BuildRecord>> find_build(std::string template_id, std::string build_id,
                                               Principal who);
  /// One that `who` may change.
  Task<Result<store::TemplateRecord>> find_own(std::string id_or_name, Principal who);
  Task<Result<std::vector<NodeTemplateFacts>>> node_templates();
  /// Asked once for each of the node's templates, as they never change while it runs.
  Task<Result<TemplateSizes>> sizes_of(std::string node_name);

  /// Registers a build that waits to be started, and its template where it is new. The template's
  /// label rises to `label` if it is lower. permission_denied for one that `who` could not read.
  Task<Result<Registered>> register_build(std::string name, std::vector<std::string> more_tags,
                                          int64_t vcpus, int64_t memory_mib, policy::Label label,
                                          Principal who);
  /// Writes down how a build stands that is not ready.
  Task<Result<void>> update_build(store::BuildRecord build);
  /// Writes down one that is, and gives it its tags, if `who`, who has started it, may still build:
  /// else failed_precondition, and nothing is changed. Builds that lost their last tag are removed.
  Task<Result<void>> finish_build(store::BuildRecord build, Principal who);

  /// Gives tags to the build that `target` means. Returns its id. not_found, invalid_argument.
  Task<Result<std::string>> assign_tags(std::string target, std::vector<std::string> tags,
                                        Principal who);
  Task<Result<void>> remove_tags(std::string name, std::vector<std::string> tags, Principal who);
  Task<Result<std::vector<store::TagRecord>>> tags_of(std::string template_id, Principal who);
  /// The template with its builds, here and at the node. Returns its id.
  Task<Result<std::string>> remove(std::string reference, Principal who);

  /// What may be changed; what is nothing stays.
  struct Change {
    std::optional<bool> is_public;
    std::optional<policy::Label> label;
  };
  /// failed_precondition if its label would fall, or is that of a pulled image, or if it would be
  /// public with a higher label than public; permission_denied if it would rise above what `who` is
  /// cleared for, or if an agent would make it public. When a label rises, it is public no more.
  Task<Result<store::TemplateRecord>> change(std::string reference, Change change, Principal who);
  /// Something with this label is about to go into a build of it. The label as it is then.
  Task<Result<policy::Label>> raise_label(std::string template_id, policy::Label label);

  struct Listed {
    store::TemplateRecord what;
    std::vector<store::BuildRecord> builds;  ///< newest first
    std::vector<store::TagRecord> tags;
  };
  /// Those of one's own tenant, and public ones of the tenant `default`.
  Task<Result<std::vector<Listed>>> list(Principal who);
  Task<Result<void>> fail_unfinished();
  /// Removes at the node what no build here has come to: a crash, or the removal of a template
  /// while it was being built, came between. Errors are logged.
  Task<void> remove_strays();

 private:
  Task<Result<Registered>> add_build(TemplateReference reference, std::vector<std::string> tags,
                                     int64_t vcpus, int64_t memory_mib, policy::Label label,
                                     Principal who);
  Task<Result<store::BuildRecord>> build_of(std::string template_id, std::string build_id);
  Task<Result<void>> remove_at_node(std::string build_id);
  Task<Result<void>> remove_untagged(std::string template_id);

  const config::Config& config_;
  store::AsyncStore& store_;
  NodeLink& node_;
  std::map<std::string, TemplateSizes> sizes_;  ///< by the node's names
};

}  // namespace hako::api
