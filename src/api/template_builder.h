// Runs the builds of templates.
#pragma once

#include <memory>

#include "api/image_puller.h"
#include "api/template_box.h"
#include "api/template_catalog.h"
#include "api/template_files.h"
#include "api/template_log.h"
#include "api/tenant_limits.h"
#include "base/async/fair_queue.h"
#include "base/async/task_group.h"
#include "base/async/turn_queue.h"

namespace hako::api {

/// The node lends a machine and keeps its disk; what happens in it is ordered from here, and what
/// it says is read here, without privileges. Tenants take turns, however many builds each has
/// waiting. A build counts as a box of its size against its tenant's quota, takes [template]
/// build_minutes at most, and ends with the key or token that has started it. Errors of all calls
/// are fit for the user. Thread: one executor.
class TemplateBuilder {
 public:
  static constexpr int kBuildsAtOnce = 3;
  static constexpr int kBuildsAtOnceOfOne = 2;  ///< one turn is left for another tenant
  static constexpr size_t kMostBuilds = 128;    ///< with those that wait for their turn
  static constexpr size_t kMostBuildsOfOne = 16;  ///< of one tenant
  static constexpr size_t kLogEntriesPerCall = 100;
  static constexpr const char* kLastStep = "finalize";

  TemplateBuilder(const config::Config& config, TemplateCatalog& catalog, TemplateFiles& files,
                  NodeLink& node, store::AsyncStore& store, TenantLimits& limits,
                  asio::any_io_executor executor)
      : config_(config),
        catalog_(catalog),
        files_(files),
        node_(node),
        store_(store),
        limits_(limits),
        puller_(config, files.disk()),
        turns_({kBuildsAtOnce, kBuildsAtOnceOfOne, kMostBuildsOfOne}),
        pulls_({kBuildsAtOnce, 1, kMostBuildsOfOne}),
        tasks_(executor) {}

  /// Whether what the recipe starts from may be had: permission_denied, naming the setting, for an
  /// image of a registry that the operator does not list; invalid_argument; unsupported.
  Task<Result<void>> admit(const Recipe& recipe, Principal who);
  /// Sets a waiting build going. failed_precondition if it has been; resource_exhausted.
  /// What `who` may not read cannot be built on: it fails as what is not there does. The template
  /// gets the label of what it is built on before that goes in.
  Result<void> start(store::BuildRecord build, Recipe recipe, Principal who);
  /// The same, and waits until it has ended.
  Task<Result<void>> run(store::BuildRecord build, Recipe recipe, Principal who);

  /// How a build stands, with its log.
  struct Status {
    store::BuildRecord build;
    boost::json::array entries;
  };
  Task<Result<Status>> status(std::string template_id, std::string build_id, Principal who);

  /// Ends the builds of those who may not build any more.
  Task<void> drop_stale();
  Task<void> stop() { return tasks_.stop(); }

 private:
  /// A build under way, or one that has ended and waits for its record to be written.
  struct Live {
    store::BuildRecord build;
    Recipe recipe;
    Principal who;
    std::shared_ptr<TemplateLog> log = std::make_shared<TemplateLog>();
    std::string step = "base";  ///< where it is
    std::string shell = "/bin/bash";
    std::string machine;                         ///< the node's name for the build
    std::map<std::string, std::string> digests;  ///< of uploads, by the client's hash of them
    /// The build of an image for another build, out of `archive`; the log is the other's.
    bool pulled = false;
    Fd archive;
    std::optional<TenantLimits::Building> counted;  ///< while a machine may be there for it
    bool stopped = false;                           ///< is to end
    Condition stopping, ended;

    bool is_over() const {
      return build.state != store::BuildState::waiting && build.state != store::BuildState::building;
    }
    void stop() {
      stopped = true;
      stopping.notify_all();
    }
    TemplateFiles::Name upload(const std::string& hash) const {
      return {who.tenant, build.template_id, hash};
    }
  };
  using Build = std::shared_ptr<Live>;
  struct Source;

  Task<void> run_in_turn(Build build);
  /// To its end, which is written down; of one that does not begin `begins` says why.
  Task<void> carry_out(Build build, Result<void> begins);
  /// Until it is done or stopped, or has taken too long.
  Task<Result<void>> work_on(Build build);
  Task<Result<void>> build(Build build);
  static Task<void> until_stopped(Build build);
  static Task<void> until_over(Build build);
  size_t builds_of(const std::string& tenant) const;
  Task<Result<bool>> stands(Principal who);
  Task<Result<void>> write_end(Live& live, store::BuildRecord& finished);
  /// Counts it; `sizes`: those of what it begins on.
  Task<Result<void>> admit_build_of(Live& live, policy::Amounts sizes);
  Task<void> abort(const Live& live);
  Task<Result<Source>> find_source(Live& live);
  Result<void> may_start_from(const Live& live, const ResolvedTemplate& what) const;
  Result<ImageName> may_pull(const std::string& image) const;
  Task<Result<ResolvedTemplate>> find_image(Live& live);
  Task<Result<ResolvedTemplate>> pull(Live& live, ImageName name);
  Task<Result<size_t>> begin(Live& live, TemplateBox& box, const Source& source,
                             std::vector<std::string> keys, std::string token);
  Task<Result<void>> unpack_archive(Live& live, TemplateBox& box, StepContext& context);
  Task<void> find_shell(Live& live, TemplateBox& box);
  Task<Result<void>> run_steps(Live& live, TemplateBox& box, StepContext& context, size_t cached,
                               const std::vector<std::string>& keys);
  Task<Result<void>> run_step(Live& live, TemplateBox& box, const RecipeStep& step,
                              const StepContext& context, std::string prefix);
  Task<Result<void>> copy(Live& live, TemplateBox& box, const RecipeStep& step,
                          const StepContext& context, std::string prefix);
  Task<Result<void>> run_logged(Live& live, TemplateBox& box, BoxCommand command,
                                std::string prefix, std::string what);
  Task<Result<void>> finalize(Live& live, TemplateBox& box, const StepContext& context);
  Task<Result<void>> start_programs(Live& live, TemplateBox& box, const StepContext& context);
  Task<Result<boost::json::object>> ask(const Live& live, std::string method,
                                        boost::json::object body, Duration deadline);
  BoxCommand in_shell(const Live& live, const std::string& line, const StepContext& context) const;

  const config::Config& config_;
  TemplateCatalog& catalog_;
  TemplateFiles& files_;
  NodeLink& node_;
  store::AsyncStore& store_;
  TenantLimits& limits_;
  ImagePuller puller_;
  FairQueue turns_;
  FairQueue pulls_;  ///< a tenant's one after another: the next may want what this one pulls
  std::map<std::string, Build> live_;  ///< by build id
  TaskGroup tasks_;
};

}  // namespace hako::api
