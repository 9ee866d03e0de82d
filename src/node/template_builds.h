// Machines in which templates are made.
#pragma once

#include "node/layers.h"
#include "node/templates.h"

namespace hako::node {

/// A build is a booted machine that the api works in, through the gate, as in a box of its own. The
/// node only keeps its disk at the steps the api names, and captures it at the end: it reads
/// nothing of what the guest says. Calls on one build take turns; one that has begun runs to its
/// end, as callers use run_to_end(). Thread: the node's executor.
class TemplateBuilds {
 public:
  static constexpr size_t kMostBuilds = 8;

  TemplateBuilds(Context& context, Templates& templates)
      : context_(context), templates_(templates), layers_(context) {}

  struct Begin {
    std::string tenant;               ///< whose processors it takes; empty: nobody's
    std::string build;                ///< also the name under which the gate reaches the machine
    std::string from;                 ///< template
    std::vector<std::string> layers;  ///< keys of the disks after each step, where there is one
    std::optional<int> memory_mib, vcpus;
    std::string access_token;
  };
  struct Begun {
    engine::MachineSize size;
    size_t cached_steps = 0;  ///< how many of `layers` are on its disk already
  };
  /// Boots the machine. Errors: not_found, already_exists, resource_exhausted,
  /// no_capacity, timed_out.
  Task<Result<Begun>> begin(Begin request);
  /// Keeps the disk as it is now under `key`. not_found.
  Task<Result<void>> keep_layer(std::string build, std::string key);
  /// Makes what lies in the folder /image-root of the machine the root file system of another one,
  /// which replaces it. not_found, timed_out (it does not come up).
  Task<Result<void>> use_as_root(std::string build);
  /// See settle_guest().
  Task<Result<void>> settle(std::string build);
  /// Ends the build with a template of that name. The build is gone, whatever the outcome.
  Task<Result<Template>> finish(std::string build, std::string name, Startup startup);
  /// Ends the build with nothing. Unknown ones are no error.
  Task<void> abort(std::string build);
  /// Ends all of them.
  Task<void> stop();

 private:
  struct Build {
    std::string id;
    std::string tenant;
    Template what;
    std::string token;
    std::unique_ptr<Vm> vm;  ///< none while it is being replaced
    TurnQueue turns;
  };

  Result<std::shared_ptr<Build>> find(const std::string& build) const;
  Task<Result<void>> boot(Build& build, std::string disk);
  Task<void> end(std::shared_ptr<Build> build);

  Context& context_;
  Templates& templates_;
  Layers layers_;
  std::map<std::string, std::shared_ptr<Build>> builds_;
};

}  // namespace hako::node
