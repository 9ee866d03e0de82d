#include "cli/snapshot_commands.h"

#include "cli/commands.h"
#include "cli/duration.h"

namespace hako::cli {
namespace {

constexpr int kMostChildren = 100;

void add_life(CLI::App* command, std::optional<std::chrono::seconds>& ttl, const char* help) {
  command
      ->add_option_function<std::string>(
          "--ttl",
          [&ttl](const std::string& text) {
            auto span = parse_duration(text);
            if (!span) throw CLI::ValidationError(span.error().message());
            ttl = span.value();
          },
          help)
      ->type_name("TIME");
}

void add_pausing(CLI::App& app, GlobalOptions& global, SnapshotCommandOptions& options,
                 int& status) {
  auto* pause = app.add_subcommand("pause", "Keep boxes on disk, without memory and CPU");
  pause->add_option("id", options.pause.ids, "Boxes")->required()->type_name("ID...");
  pause->add_flag("--files-only", options.pause.files_only,
                  "Keep the files and not the memory: they boot when they are resumed");
  pause->callback([&] { status = pause_boxes(global, options.pause); });

  auto* resume = app.add_subcommand("resume", "Go on with paused boxes");
  resume->add_option("id", options.resume.ids, "Boxes")->required()->type_name("ID...");
  add_life(resume, options.resume.ttl, "Their end from now, like 30s, 5m or 2h; 5m if not given");
  resume->callback([&] { status = resume_boxes(global, options.resume); });
}

void add_copying(CLI::App& app, GlobalOptions& global, SnapshotCommandOptions& options,
                 int& status) {
  auto* fork = app.add_subcommand("fork", "Make boxes that go on from where one is; prints the ids");
  fork->add_option("id", options.fork.id, "Box")->required()->type_name("ID");
  fork->add_option_function<int>(
          "-n", [&options](int count) { options.fork.count = count; }, "How many; 1 if not given")
      ->check(CLI::Range(1, kMostChildren))
      ->type_name("N");
  add_life(fork, options.fork.ttl, "Destroy them after this time; 5m if not given");
  fork->add_flag("--json", global.json, "Print JSON");
  fork->callback([&] { status = fork_box(global, options.fork); });

  auto* group = app.add_subcommand("snapshot", "Kept states of boxes, to make boxes from");
  group->require_subcommand(1);
  auto* take = group->add_subcommand("create", "Keep the state of a box, which runs on");
  take->add_option("id", options.take.id, "Box")->required()->type_name("ID");
  take->add_option("name", options.take.name, "Name of the snapshot, as NAME or NAME:TAG")
      ->type_name("NAME");
  take->add_flag("--json", global.json, "Print JSON");
  take->callback([&] { status = take_snapshot(global, options.take); });

  auto* list = group->add_subcommand("ls", "List snapshots");
  list->alias("list");
  list->add_option("--box", options.list.id, "Only those of this box")->type_name("ID");
  list->add_flag("--json", global.json, "Print JSON");
  list->callback([&] { status = list_snapshots(global, options.list); });

  auto* remove = group->add_subcommand("rm", "Remove snapshots");
  remove->add_option("snapshot", options.names, "Ids or names")->required()->type_name("SNAPSHOT...");
  remove->callback([&] { status = remove_snapshots(global, options.names); });

  auto* rollback = app.add_subcommand("rollback", "Take a box back to a snapshot of its own");
  rollback->add_option("id", options.rollback.id, "Box")->required()->type_name("ID");
  rollback->add_option("snapshot", options.rollback.snapshot, "Id or name of the snapshot")
      ->required()
      ->type_name("SNAPSHOT");
  rollback->callback([&] { status = roll_back_box(global, options.rollback); });
}

}  // namespace

void add_snapshot_commands(CLI::App& app, GlobalOptions& global, SnapshotCommandOptions& options,
                           int& status) {
  add_pausing(app, global, options, status);
  add_copying(app, global, options, status);
}

}  // namespace hako::cli
