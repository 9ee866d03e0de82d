#include "cli/service_state.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/json.hpp>

#include <cerrno>

#include "base/fd.h"
#include "base/process.h"
#include "cli/api.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr off_t kTailBytes = 64 << 10;

json::object to_json(const ProcessName& process) {
  return json::object{{"pid", process.pid}, {"start_time", process.start_time}};
}

ProcessName process_from(const json::value& value) {
  ProcessName process;
  int64_t pid = number_member(value, "pid");
  int64_t start = number_member(value, "start_time");
  // A pid that is no process of ours must never be signalled: 0 and below mean groups.
  if (pid > 0 && pid <= INT32_MAX && start > 0) {
    process.pid = static_cast<pid_t>(pid);
    process.start_time = static_cast<uint64_t>(start);
  }
  return process;
}

}  // namespace

std::string state_path(const config::Config& config) {
  return config.run_dir + "/up.json";
}
std::string log_directory(const config::Config& config) {
  return config.state_dir + "/log";
}
std::string log_path(const config::Config& config, const std::string& name) {
  return log_directory(config) + "/" + name + ".log";
}

std::string state_to_json(const ServiceState& state) {
  json::array roles;
  for (const RoleState& role : state.roles) {
    json::object object;
    object["name"] = role.name;
    object["process"] = to_json(role.process);
    object["restarts"] = role.restarts;
    object["last_end"] = role.last_end;
    roles.emplace_back(std::move(object));
  }
  json::object object;
  object["supervisor"] = to_json(state.supervisor);
  object["roles"] = std::move(roles);
  return json::serialize(object) + "\n";
}

Result<ServiceState> state_from_json(std::string_view text) {
  boost::system::error_code failed;
  json::value value = json::parse(json::string_view(text.data(), text.size()), failed);
  if (failed || !value.is_object())
    return Error(ErrorCode::corrupted, "it does not hold what `hako up` writes");
  ServiceState state;
  if (const auto* supervisor = value.get_object().if_contains("supervisor"))
    state.supervisor = process_from(*supervisor);
  const auto* roles = value.get_object().if_contains("roles");
  if (roles && roles->is_array())
    for (const auto& item : roles->get_array()) {
      RoleState role;
      role.name = text_member(item, "name");
      role.last_end = text_member(item, "last_end");
      role.restarts = static_cast<int>(number_member(item, "restarts"));
      if (const auto* object = item.if_object())
        if (const auto* process = object->if_contains("process"))
          role.process = process_from(*process);
      state.roles.push_back(std::move(role));
    }
  return state;
}

Result<void> save_state(const config::Config& config, const ServiceState& state) {
  return write_file_atomically(state_path(config), state_to_json(state), 0644);
}

Result<std::optional<ServiceState>> load_state(const config::Config& config) {
  auto text = read_file(state_path(config));
  if (!text && text.error().code() == ErrorCode::not_found) return std::optional<ServiceState>{};
  if (!text) return text.error();
  auto state = state_from_json(text.value());
  if (!state) return state.error().with_context("read " + state_path(config));
  return std::optional<ServiceState>(std::move(state.value()));
}

bool is_alive(const ProcessName& process) {
  if (process.pid <= 0) return false;
  auto start = process_start_time(process.pid);
  return start && start.value() == process.start_time;
}

std::string log_tail(const std::string& path, size_t lines) {
  auto file = open_file(path, O_RDONLY);
  if (!file) return {};
  off_t end = ::lseek(file.value().get(), 0, SEEK_END);
  off_t from = std::max<off_t>(0, end - kTailBytes);
  std::string text(static_cast<size_t>(end - from), '\0');
  ssize_t n = ::pread(file.value().get(), text.data(), text.size(), from);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  size_t position = text.size();
  while (position > 0 && text[position - 1] == '\n') --position;
  for (size_t i = 0; i < lines && position != std::string::npos && position > 0; ++i)
    position = text.rfind('\n', position - 1);
  return position == std::string::npos || position == 0 ? text : text.substr(position + 1);
}

Result<void> bound_log(const std::string& path, off_t limit) {
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0)
    return errno == ENOENT ? Result<void>(ok()) : Error::from_errno(errno, "stat " + path);
  if (status.st_size <= limit) return ok();
  HAKO_TRY(auto log, open_file(path, O_RDWR));
  HAKO_TRY(auto old, open_file(path + ".1", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  HAKO_TRYV(clone_file(log.get(), old.get()));
  if (::ftruncate(log.get(), 0) < 0) return Error::from_errno(errno, "truncate " + path);
  return ok();
}

}  // namespace hako::cli
