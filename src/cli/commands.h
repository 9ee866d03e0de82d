// The commands, one function each; the parser calls them. All return the exit status.
#pragma once

#include "cli/options.h"

namespace hako::cli {

// boxes.cpp
int create_box(const GlobalOptions& global, const BoxOptions& options);
int list_boxes(const GlobalOptions& global);
int show_box(const GlobalOptions& global, const std::string& id);
int kill_boxes(const GlobalOptions& global, const std::vector<std::string>& ids, bool all);
int show_logs(const GlobalOptions& global, const LogsOptions& options);

// snapshots.cpp
int pause_boxes(const GlobalOptions& global, const PauseOptions& options);
int resume_boxes(const GlobalOptions& global, const ResumeOptions& options);
int fork_box(const GlobalOptions& global, const ForkOptions& options);
int take_snapshot(const GlobalOptions& global, const SnapshotOptions& options);
int list_snapshots(const GlobalOptions& global, const SnapshotOptions& options);
int remove_snapshots(const GlobalOptions& global, const std::vector<std::string>& names);
int roll_back_box(const GlobalOptions& global, const RollbackOptions& options);

// run.cpp
int run_in_new_box(const GlobalOptions& global, const RunOptions& options);
int exec_in_box(const GlobalOptions& global, const ExecOptions& options);

// copy.cpp
int copy_files(const GlobalOptions& global, const CopyOptions& options);

// templates.cpp
int list_templates(const GlobalOptions& global);
int build_template(const GlobalOptions& global, const TemplateBuildOptions& options);
int import_template(const GlobalOptions& global, const TemplateImportOptions& options);
int remove_templates(const GlobalOptions& global, const std::vector<std::string>& names);

// egress.cpp
int raise_label(const GlobalOptions& global, const LabelOptions& options);
int check_policy(const GlobalOptions& global, const PolicyCheckOptions& options);
int explain_policy(const GlobalOptions& global, const PolicyExplainOptions& options);
int show_egress_log(const GlobalOptions& global, const EgressLogOptions& options);
int add_link(const GlobalOptions& global, const LinkAddOptions& options);
int list_links(const GlobalOptions& global);
int remove_links(const GlobalOptions& global, const std::vector<std::string>& ids);

// service.cpp
int start_service(const GlobalOptions& global, bool foreground);
int stop_service(const GlobalOptions& global, bool keep_boxes);
int restart_service(const GlobalOptions& global);

// attack.cpp
int attack(const GlobalOptions& global, const BoxOptions& options);

// agent_run.cpp, agent_build.cpp
int run_agent(const GlobalOptions& global, const AgentRunOptions& options);
int build_agent(const GlobalOptions& global, const AgentBuildOptions& options);
int list_agents(const GlobalOptions& global);

// mcp.cpp
int serve_mcp(const GlobalOptions& global);

// check.cpp
int check_machine(const GlobalOptions& global);

}  // namespace hako::cli
