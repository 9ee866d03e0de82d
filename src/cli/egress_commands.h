// The commands about labels and what leaves boxes, as the parser knows them.
#pragma once

#include "cli/options.h"

namespace CLI {
class App;
}

namespace hako::cli {

/// Everything the parser fills for them; must live as long as the parser.
struct EgressCommandOptions {
  LabelOptions label;
  PolicyCheckOptions check;
  PolicyExplainOptions explain;
  EgressLogOptions log;
  LinkAddOptions link;
  std::vector<std::string> links;
};

/// --label, --egress, --allow and --deny of a new box.
void add_confinement(CLI::App* app, Confinement& confinement);
/// --label of something else.
void add_label_option(CLI::App* app, std::string& label, const std::string& help);

/// `label`, `policy`, `egress` and `link`. `status` becomes the exit status.
void add_egress_commands(CLI::App& app, GlobalOptions& global, EgressCommandOptions& options,
                         int& status);

}  // namespace hako::cli
