// pause, resume, fork, snapshot and rollback, as the parser has them.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/options.h"

namespace hako::cli {

/// What these commands fill; must outlive the parser.
struct SnapshotCommandOptions {
  PauseOptions pause;
  ResumeOptions resume;
  ForkOptions fork;
  SnapshotOptions take, list;
  RollbackOptions rollback;
  std::vector<std::string> names;
};

void add_snapshot_commands(CLI::App& app, GlobalOptions& global, SnapshotCommandOptions& options,
                           int& status);

}  // namespace hako::cli
