// Secrets. Values are read from standard input or a file, and never shown.
#include "cli/secret_commands.h"

#include <termios.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "base/encoding.h"
#include "base/fd.h"
#include "cli/api.h"
#include "cli/box.h"
#include "cli/output.h"
#include "cli/tenant_commands.h"
#include "cli/terminal.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr size_t kLongestValue = 64 << 10;

std::string secret_path(const std::string& name) {
  return "/v1/secrets/" + percent_encode(name);
}

/// A terminal that shows nothing of what is typed, for as long as this lives.
class Unseen {
 public:
  Unseen() {
    if (::tcgetattr(STDIN_FILENO, &before_) < 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~tcflag_t(ECHO);
    changed_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
  ~Unseen() {
    if (changed_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }

 private:
  termios before_{};
  bool changed_ = false;
};

/// What stands before the end of the first line on a terminal; of others all.
Result<std::string> read_input() {
  bool asks = is_terminal(STDIN_FILENO);
  std::optional<Unseen> unseen;
  if (asks) {
    print_note("the secret, which is not shown:");
    unseen.emplace();
  }
  std::string text;
  char buffer[4096];
  while (text.size() <= kLongestValue) {
    ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read standard input");
    if (got == 0) return text;
    text.append(buffer, size_t(got));
    if (asks && text.find('\n') != std::string::npos) return text;
  }
  return Error(ErrorCode::too_large, "no secret is as long as that");
}

Result<std::string> read_value(const std::string& file) {
  HAKO_TRY(std::string text, file.empty() ? read_input() : read_file(file, kLongestValue));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) {
    return Error(ErrorCode::invalid_argument,
                 "there is no value: pipe it in, or name a file with --value-file");
  }
  return text;
}

/// "header:x-api-key:Key {}" as the API has it.
Result<json::object> use_of(const std::string& text) {
  size_t colon = text.find(':');
  std::string kind = text.substr(0, colon);
  std::string rest = colon == text.npos ? "" : text.substr(colon + 1);
  json::object use;
  use["kind"] = kind;
  if (kind == "header" && !rest.empty()) {
    size_t end = rest.find(':');
    use["header"] = rest.substr(0, end);
    if (end != rest.npos) use["template"] = rest.substr(end + 1);
  } else if (kind == "basic") {
    if (!rest.empty()) use["user"] = rest;
  } else if (kind != "bearer" || colon != text.npos) {
    return Error(ErrorCode::invalid_argument,
                 "'" + printable_field(text) +
                     "' is no use: write bearer, basic, basic:USER, header:NAME or "
                     "header:NAME:FORM");
  }
  return use;
}

Result<json::object> rules_of(const SecretOptions& options) {
  json::object wanted;
  if (!options.hosts.empty()) {
    wanted["hosts"] = json::array(options.hosts.begin(), options.hosts.end());
  }
  json::array uses, grants;
  for (const std::string& text : options.uses) {
    HAKO_TRY(auto use, use_of(text));
    uses.push_back(std::move(use));
  }
  if (!uses.empty()) wanted["use"] = std::move(uses);
  if (options.env) wanted["env"] = *options.env;
  if (!options.label.empty()) wanted["label"] = options.label;
  auto grant = [&](const char* member, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      json::object one;
      one[member] = name;
      grants.push_back(std::move(one));
    }
  };
  grant("tenant", options.tenants);
  grant("agent", options.agents);
  grant("box", options.boxes);
  if (!grants.empty()) wanted["grants"] = std::move(grants);
  return wanted;
}

std::string joined(const json::value& secret, const char* member) {
  const json::value* list = secret.is_object() ? secret.get_object().if_contains(member) : nullptr;
  std::string text;
  if (!list || !list->is_array()) return text;
  for (const json::value& each : list->get_array()) {
    std::string one;
    if (each.is_string()) one = std::string(each.get_string());
    if (each.is_object()) {
      for (const auto& [name, value] : each.get_object()) {
        if (value.is_string()) {
          one += (one.empty() ? "" : " ") + std::string(name) + "=" + std::string(value.get_string());
        }
      }
    }
    text += (text.empty() ? "" : ", ") + printable_field(one);
  }
  return text;
}

std::vector<std::string> secret_row(const json::value& secret) {
  return {printable_field(text_member(secret, "name")), joined(secret, "hosts"),
          printable_field(text_member(secret, "env")), printable_field(text_member(secret, "label")),
          joined(secret, "grants")};
}

int print_kept(const GlobalOptions& global, const json::value& secret) {
  if (global.json) {
    print_json(secret);
    return 0;
  }
  std::string text;
  auto line = [&](std::string name, const std::string& value) {
    name.resize(16, ' ');
    if (!value.empty()) text += name + value + "\n";
  };
  for (const char* member : {"name", "secretID", "tenant", "env", "label", "createdAt", "updatedAt"}) {
    line(member, printable_field(text_member(secret, member)));
  }
  for (const char* member : {"hosts", "use", "grants"}) line(member, joined(secret, member));
  const json::value* version = secret.is_object() ? secret.get_object().if_contains("version") : nullptr;
  if (version && version->is_int64()) line("version", std::to_string(version->get_int64()));
  print(text);
  return 0;
}

Task<int> secret_call(const GlobalOptions& global, http::Verb method, std::string path,
                      std::optional<json::object> body) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  std::optional<json::value> sent;
  if (body) sent = std::move(*body);
  auto answer = co_await api.call(method, std::move(path), std::move(sent));
  if (!answer) co_return fail(answer.error());
  co_return print_kept(global, answer.value());
}

Task<int> secret_remove_command(const GlobalOptions& global, const std::vector<std::string>& names) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const std::string& name : names) {
    auto gone = co_await api.call(http::Verb::delete_, secret_path(name));
    if (gone) {
      print(printable_field(name) + "\n");
    } else if (gone.error().code() == ErrorCode::not_found) {
      status = fail(Error(ErrorCode::not_found, "there is no secret '" + printable_field(name) +
                                                    "': `hako secret ls` lists them"));
    } else {
      status = fail(gone.error());
    }
  }
  co_return status;
}

Task<int> secret_use_command(const GlobalOptions& global, const SecretUseOptions& options) {
  if (!is_box_id(options.box)) {
    co_return fail(Error(ErrorCode::invalid_argument,
                         "'" + printable_field(options.box) + "' is no box"));
  }
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  std::string path = "/v1/sandboxes/" + options.box + "/secrets";
  bool changes = options.none || !options.secrets.empty();
  std::optional<json::value> body;
  if (changes) {
    json::object wanted;
    wanted["secrets"] = json::array(options.secrets.begin(), options.secrets.end());
    body = std::move(wanted);
  }
  auto answer = co_await api.call(changes ? http::Verb::put : http::Verb::get, std::move(path),
                                  std::move(body));
  if (!answer) co_return fail(answer.error());
  if (global.json) {
    print_json(answer.value());
    co_return 0;
  }
  const json::value* list = answer.value().is_object()
                                ? answer.value().get_object().if_contains("secrets")
                                : nullptr;
  if (!list || !list->is_array()) co_return 0;
  for (const json::value& each : list->get_array()) {
    std::string name = printable_field(text_member(each, "env"));
    if (name.empty()) name = printable_field(text_member(each, "name"));
    print(name + "=" + printable_field(text_member(each, "placeholder")) + "\n");
    std::string reason = printable_field(text_member(each, "reason"));
    if (!reason.empty()) print_note(reason);
  }
  co_return 0;
}

}  // namespace

int list_secrets(const GlobalOptions& global) {
  return run_to_end([&] {
    std::vector<std::string> heading{"NAME", "HOSTS", "VARIABLE", "LABEL", "GRANTED TO"};
    return print_list(global, "/v1/secrets", "secrets", std::move(heading), secret_row);
  });
}

int show_secret(const GlobalOptions& global, const std::string& name) {
  return run_to_end(
      [&] { return secret_call(global, http::Verb::get, secret_path(name), std::nullopt); });
}

int add_secret(const GlobalOptions& global, const SecretOptions& options) {
  auto wanted = rules_of(options);
  if (!wanted) return fail(wanted.error());
  auto value = read_value(options.file);
  if (!value) return fail(value.error());
  wanted.value()["name"] = options.name;
  wanted.value()["value"] = value.value();
  return run_to_end(
      [&] { return secret_call(global, http::Verb::post, "/v1/secrets", wanted.value()); });
}

int set_secret(const GlobalOptions& global, const SecretOptions& options) {
  auto wanted = rules_of(options);
  if (!wanted) return fail(wanted.error());
  return run_to_end([&] {
    return secret_call(global, http::Verb::patch, secret_path(options.name), wanted.value());
  });
}

int rotate_secret(const GlobalOptions& global, const SecretOptions& options) {
  auto value = read_value(options.file);
  if (!value) return fail(value.error());
  json::object wanted;
  wanted["value"] = value.value();
  return run_to_end([&] {
    return secret_call(global, http::Verb::post, secret_path(options.name) + "/rotate", wanted);
  });
}

int remove_secrets(const GlobalOptions& global, const std::vector<std::string>& names) {
  return run_to_end([&] { return secret_remove_command(global, names); });
}

int use_secrets(const GlobalOptions& global, const SecretUseOptions& options) {
  return run_to_end([&] { return secret_use_command(global, options); });
}

}  // namespace hako::cli
