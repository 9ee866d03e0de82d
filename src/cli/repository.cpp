#include "cli/repository.h"

#include <algorithm>
#include <charconv>

#include "base/encoding.h"
#include "cli/egress_text.h"
#include "cli/lifecycle.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;

namespace {

constexpr std::string_view kScheme = "https://";
constexpr const char* kUsualUser = "x-access-token";

/// What stands for itself everywhere: in a shell, in git's configuration, in a path.
bool is_plain(std::string_view text) {
  return !text.empty() && text.front() != '-' && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

Error no_repository(std::string_view url) {
  return Error(ErrorCode::invalid_argument,
               "'" + printable_field(std::string(url)) +
                   "' is no repository: write https://HOST/PATH, without a user or a password; a "
                   "token is named with --repo-secret");
}

/// Remembers the placeholder, so that fetch and push work later, and clones. Its arguments come from
/// outside of the script, and nothing of them is looked at as a part of it.
constexpr const char* kCloneScript =
    "set -e; cd; url=$1 folder=$2 host=$3 user=$4 password=$5; "
    "export GIT_TERMINAL_PROMPT=0; "
    "if [ -n \"$password\" ]; then "
    "umask 077; printf 'https://%s:%s@%s\\n' \"$user\" \"$password\" \"$host\" > .git-credentials; "
    "umask 022; git config --global \"credential.https://$host.helper\" store; "
    "fi; "
    "exec git clone --quiet -- \"$url\" \"$folder\"";

}  // namespace

Result<Repository> parse_repository(std::string_view url) {
  if (!url.starts_with(kScheme)) return no_repository(url);
  std::string_view rest = url.substr(kScheme.size());
  size_t slash = rest.find('/');
  if (slash == rest.npos) return no_repository(url);
  std::string_view authority = rest.substr(0, slash), path = rest.substr(slash + 1);
  Repository repository;
  size_t colon = authority.find(':');
  repository.host = std::string(authority.substr(0, colon));
  std::transform(repository.host.begin(), repository.host.end(), repository.host.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  if (colon != authority.npos) {
    std::string_view digits = authority.substr(colon + 1);
    auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), repository.port);
    if (bad != std::errc() || end != digits.data() + digits.size() || repository.port == 0) {
      return no_repository(url);
    }
  }
  while (path.ends_with('/')) path.remove_suffix(1);
  bool plain = is_plain(repository.host) && !path.empty();
  std::string_view last;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    last = path.substr(0, end);
    plain = plain && (is_plain(last) || (last.starts_with('~') && is_plain(last.substr(1))));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  if (last.ends_with(".git")) last.remove_suffix(4);
  if (!plain || !is_plain(last)) return no_repository(url);
  repository.folder = std::string(last);
  repository.url = std::string(url);
  return repository;
}

BoxOptions box_for_clone(BoxOptions box, const Repository& repository, const std::string& secret) {
  box.confinement = Confinement();
  box.confinement.egress = "allow";
  box.confinement.allow = {repository.target()};
  if (!secret.empty() && std::find(box.secrets.begin(), box.secrets.end(), secret) == box.secrets.end()) {
    box.secrets.push_back(secret);
  }
  return box;
}

CommandOptions clone_command(const CommandOptions& options, const Repository& repository,
                             const std::string& user, const std::string& placeholder) {
  CommandOptions clone;
  clone.user = options.user;
  std::string host = repository.host;
  if (repository.port != 443) host += ":" + std::to_string(repository.port);
  clone.argv = {"/bin/sh",         "-c", kCloneScript, "clone",    repository.url,
                repository.folder, host, user,         placeholder};
  return clone;
}

Task<Result<GitLogin>> find_git_login(Api& api, std::string box, std::string secret) {
  HAKO_CO_TRY(auto kept, co_await api.call(http::Verb::get, "/v1/secrets/" + percent_encode(secret)));
  HAKO_CO_TRY(auto answer, co_await api.call(http::Verb::get, "/v1/sandboxes/" + box + "/secrets"));
  GitLogin login;
  login.user = kUsualUser;
  const json::value* uses = kept.is_object() ? kept.get_object().if_contains("use") : nullptr;
  if (uses && uses->is_array()) {
    for (const json::value& use : uses->get_array()) {
      std::string user = text_member(use, "user");
      if (text_member(use, "kind") == "basic" && !user.empty()) login.user = user;
    }
  }
  const json::value* list = answer.is_object() ? answer.get_object().if_contains("secrets") : nullptr;
  if (list && list->is_array()) {
    for (const json::value& each : list->get_array()) {
      if (text_member(each, "secretID") == text_member(kept, "secretID")) {
        login.placeholder = text_member(each, "placeholder");
      }
    }
  }
  if (!is_plain(login.placeholder) || !is_plain(login.user)) {
    co_return Error(ErrorCode::failed_precondition, "git cannot use the secret " + secret);
  }
  co_return login;
}

Task<Result<void>> close_behind_clone(Api& api, std::string box, Confinement wanted,
                                      Repository repository) {
  if (!wanted.label.empty()) {
    HAKO_CO_TRYV(co_await raise_to_at_least(api, box, wanted.label));
  }
  if (wanted.egress.empty() && wanted.allow.empty() && wanted.deny.empty()) co_return ok();
  bool list = wanted.egress.empty() || wanted.egress == "allow";
  if (list) wanted.allow.push_back(repository.target());
  if (wanted.egress.empty()) wanted.egress = "allow";
  wanted.label.clear();
  json::object rules;
  put_confinement(rules, wanted);
  if (!list) rules["allow"] = json::array();
  json::value body = std::move(rules);
  HAKO_CO_TRYV(co_await api.call(http::Verb::put, "/sandboxes/" + box + "/network", std::move(body)));
  co_return ok();
}

}  // namespace hako::cli
