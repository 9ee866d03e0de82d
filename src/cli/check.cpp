#include "cli/api.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/supervisor.h"
#include "doctor/checks.h"

namespace hako::cli {

int check_machine(const GlobalOptions& global) {
  auto config = load_config(global);
  if (!config) return fail(config.error());
  auto directory = program_directory();
  auto sources = doctor::this_machine(directory ? directory.value() : "");
  doctor::Report report = doctor::examine(config.value(), sources);
  if (global.json) {
    boost::json::value value = boost::json::parse(doctor::to_json(report));
    print_json(value);
  } else {
    print(doctor::to_text(report));
  }
  return doctor::exit_status(report);
}

}  // namespace hako::cli
