// `hako agent build`: the template of an agent.
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <csignal>
#include <cstdio>

#include "base/fd.h"
#include "cli/agent_install.h"
#include "cli/agents.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr int kUsualMemory = 2048;
constexpr std::chrono::minutes kInstallTime{40};
constexpr std::chrono::minutes kKeepTime{5};
constexpr size_t kMostAuthorities = 4 << 20;

/// A setting of this machine's npm; empty where there is none, or no npm.
std::string npm_setting(const std::string& name) {
  FILE* npm = ::popen(("npm config get " + name + " 2>/dev/null").c_str(), "re");
  if (!npm) return "";
  char line[4096];
  std::string value = ::fgets(line, sizeof line, npm) ? line : "";
  ::pclose(npm);
  while (!value.empty() && (value.back() == '\n' || value.back() == '\r')) value.pop_back();
  return value == "null" || value == "undefined" ? "" : value;
}

struct Source {
  std::string registry, target, authority;
};

Result<Source> find_source(const AgentBuildOptions& options) {
  Source source;
  source.registry = options.registry.empty() ? npm_setting("registry") : options.registry;
  if (source.registry.empty())
    return Error(ErrorCode::failed_precondition,
                 "which registry packages come from is not known: there is no npm on this machine "
                 "to ask. Name it with --registry");
  HAKO_TRY(source.target, target_of_url(source.registry));
  std::string file = options.ca_file.empty() ? npm_setting("cafile") : options.ca_file;
  if (file.empty()) return source;
  HAKO_TRY(source.authority, read_file(file, kMostAuthorities));
  return source;
}

/// The program and what it is to know, which it reads behind itself.
std::string installer_input(const Agent& agent, const AgentBuildOptions& options,
                            const Source& source) {
  json::object given;
  given["registry"] = source.registry;
  given["authority"] = source.authority;
  given["package"] = json::string_view(agent.package.data(), agent.package.size());
  given["command"] = json::string_view(agent.command.data(), agent.command.size());
  given["version"] = options.version;
  std::string_view program = agent_installer();
  // One line of JSON text is a line of Python, too.
  json::string text(program.data(), program.size());
  return json::serialize(text) + "\n" + json::serialize(given);
}

Task<Result<void>> install(BoxAccess box, const Agent& agent, std::string input) {
  Session session(co_await asio::this_coro::executor, std::move(box), "root");
  Session::Spec spec;
  spec.timeout = kInstallTime;
  spec.start.process.cmd = "python3";
  spec.start.process.args = {"-c", "import json, sys; exec(json.loads(sys.stdin.readline()))"};
  TextSource in(std::move(input));
  SharedDescriptor told(STDERR_FILENO);
  CommandStreams streams{&in, &told, &told};
  HAKO_CO_TRY(int status, co_await session.run(std::move(spec), streams));
  if (status == 0) co_return ok();
  std::string why = session.problem().empty() ? "the installer ended with status " +
                                                    std::to_string(status)
                                              : session.problem();
  co_return Error(ErrorCode::failed_precondition,
                  std::string(agent.package) + " could not be installed: " + why);
}

Task<Result<void>> keep_as(Api& api, std::string id, std::string name) {
  json::object body;
  body["name"] = name;
  std::optional<json::value> request(std::move(body));
  auto kept = co_await api.call(http::Verb::post, "/sandboxes/" + id + "/snapshots",
                                std::move(request), kKeepTime);
  if (!kept) co_return kept.error();
  co_return ok();
}

Task<Result<void>> install_and_keep(Api& api, BoxAccess box, const Agent& agent,
                                    std::string input) {
  std::string id = box.id;
  HAKO_CO_TRYV(co_await install(std::move(box), agent, std::move(input)));
  co_return co_await keep_as(api, id, template_of(agent));
}

Task<int> build_command(const GlobalOptions& global, const AgentBuildOptions& options,
                        const Agent& agent) {
  auto config = load_config(global);
  if (!config) co_return fail(config.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  auto source = find_source(options);
  if (!source) co_return fail(source.error());
  BoxOptions wanted;
  wanted.template_name = options.from;
  wanted.memory_mib = options.memory_mib.value_or(kUsualMemory);
  wanted.vcpus = options.vcpus;
  wanted.ttl = kInstallTime + kKeepTime;
  wanted.confinement.allow.push_back(source.value().target);
  BoxWork work = [&](Api& api, BoxAccess box) {
    return install_and_keep(api, std::move(box), agent,
                            installer_input(agent, options, source.value()));
  };
  auto building = work_in_own_box(access.value(), std::move(wanted),
                                  config.value().default_template, std::move(work));
  auto signal = co_await std::move(building);
  if (!signal) co_return fail(signal.error());
  if (signal.value()) co_return 128 + *signal.value();
  print(template_of(agent) + "\n");
  co_return 0;
}

}  // namespace

int build_agent(const GlobalOptions& global, const AgentBuildOptions& options) {
  const Agent* agent = find_agent(options.name);
  if (!agent)
    return fail(Error(ErrorCode::invalid_argument, "no agent '" + printable_field(options.name) +
                                                       "' is known: there are " +
                                                       names_of_agents()));
  ::signal(SIGPIPE, SIG_IGN);
  return run_to_end([&] { return build_command(global, options, *agent); });
}

}  // namespace hako::cli
