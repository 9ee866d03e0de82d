#include "cli/clone.h"

#include <unistd.h>

#include "cli/session.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr std::chrono::minutes kCloneTime{30};

/// $1: the URL. $2: the folder. $3: the variable with what to log in with, if any. $4: for which
/// server. What is set up stays, so that pulling and pushing in the box work alike.
constexpr const char* kClone = R"(set -e
command -v git >/dev/null || { echo 'there is no git in this box' >&2; exit 127; }
if [ -n "$3" ]; then
  git config --global "credential.$4.helper" \
    '!f() { test "$1" != get || { echo username=x-access-token; echo "password=$'"$3"'"; }; }; f'
fi
git clone --quiet -- "$1" "$2")";

bool is_variable(std::string_view name) {
  if (name.empty() || name.size() > 128 || (name[0] >= '0' && name[0] <= '9')) return false;
  for (char c : name) {
    bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!fits) return false;
  }
  return true;
}

/// Whether a secret's target, "HOST" or "HOST:PORT", is for this one.
bool is_for(std::string_view target, const Repository& repository) {
  std::string full(target);
  if (full.find(':') == full.npos) full += ":443";
  return full == repository.target;
}

/// The variable that holds the placeholder of a secret for the repository's host; empty: none.
Task<std::string> login_variable(Api& api, const std::string& box, const Repository& repository) {
  auto answer = co_await api.call(http::Verb::get, "/v1/sandboxes/" + box + "/secrets");
  const json::array* list = nullptr;
  if (answer && answer.value().is_object())
    if (const auto* found = answer.value().get_object().if_contains("secrets"))
      list = found->if_array();
  if (!list) co_return "";
  for (const json::value& secret : *list) {
    const json::object* fields = secret.if_object();
    const json::value* hosts = fields ? fields->if_contains("hosts") : nullptr;
    std::string variable = text_member(secret, "env");
    if (!hosts || !hosts->is_array() || !is_variable(variable)) continue;
    for (const json::value& host : hosts->get_array())
      if (host.is_string() && is_for(std::string(host.get_string()), repository)) co_return variable;
  }
  co_return "";
}

}  // namespace

Task<Result<std::string>> clone_in_box(Api& api, BoxAccess box, std::string user,
                                       Repository repository) {
  std::string variable = co_await login_variable(api, box.id, repository);
  Session session(co_await asio::this_coro::executor, box, user);
  Session::Spec spec;
  spec.timeout = kCloneTime;
  spec.start.process.cmd = "/bin/sh";
  spec.start.process.args = {"-c",           kClone,   "hako", repository.url, repository.folder,
                             variable, repository.origin};
  // Without a login that is good enough, git is to fail and not to ask.
  spec.start.process.envs = {{"GIT_TERMINAL_PROMPT", "0"}};
  SharedDescriptor told(STDERR_FILENO);
  CommandStreams streams;
  streams.out = &told;
  streams.err = &told;
  HAKO_CO_TRY(int status, co_await session.run(std::move(spec), streams));
  if (status == 0) co_return repository.folder;
  std::string why = session.problem().empty() ? "git ended with status " + std::to_string(status)
                                              : session.problem();
  co_return Error(ErrorCode::failed_precondition,
                  printable_field(repository.url) + " could not be cloned: " + why);
}

}  // namespace hako::cli
