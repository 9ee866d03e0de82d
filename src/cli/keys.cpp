// Keys, and what the API does about tokens. A new key or token is all that goes to standard output,
// so that a script can take it.
#include <boost/json.hpp>

#include "base/encoding.h"
#include "cli/api.h"
#include "cli/output.h"
#include "cli/tenant_commands.h"
#include "cli/text.h"
#include "cli/token_commands.h"
#include "policy/narrowing_json.h"
#include "wire/macaroon.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

std::string key_path(const std::string& id) {
  return "/v1/keys/" + percent_encode(id);
}

std::string joined_policy(const json::value& key) {
  std::string text;
  for (const std::string& line : policy_lines(key)) text += (text.empty() ? "" : "; ") + line;
  return text;
}

/// The secret that an answer holds.
int print_secret(const GlobalOptions& global, const json::value& answer, const char* member,
                 const char* id) {
  std::string secret = text_member(answer, member);
  if (secret.empty())
    return fail(Error(ErrorCode::corrupted, std::string("the API's answer holds no ") + member));
  if (global.json) {
    print_json(answer);
    return 0;
  }
  print(printable_field(secret) + "\n");
  print_note("its id is " + printable_field(text_member(answer, id)) +
             "; it is shown this once and can be had from nowhere");
  return 0;
}

std::vector<std::string> key_row(const json::value& key) {
  return {printable_field(text_member(key, "keyID")), printable_field(text_member(key, "role")),
          printable_field(text_member(key, "user")), printable_field(text_member(key, "name")),
          joined_policy(key)};
}

json::object named(const KeyOptions& options) {
  json::object wanted;
  if (options.role) wanted["role"] = *options.role;
  if (options.user) wanted["user"] = *options.user;
  if (options.name) wanted["name"] = *options.name;
  return wanted;
}

Task<int> key_create_command(const GlobalOptions& global, const KeyOptions& options) {
  auto narrowing = narrowing_of(options.policy, WallClock::now());
  if (!narrowing) co_return fail(narrowing.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted = named(options);
  wanted["policy"] = policy::to_json(narrowing.value());
  json::value body = std::move(wanted);
  auto made = co_await api.call(http::Verb::post, "/v1/keys", std::move(body));
  if (!made) co_return fail(made.error());
  co_return print_secret(global, made.value(), "key", "keyID");
}

int print_key(const GlobalOptions& global, const json::value& key) {
  if (global.json) {
    print_json(key);
    return 0;
  }
  std::string text;
  for (const char* member : {"keyID", "tenant", "role", "user", "name", "createdAt",
                             "oldSecretUntil"}) {
    std::string value = printable_field(text_member(key, member));
    std::string label(member);
    label.resize(16, ' ');
    if (!value.empty()) text += label + value + "\n";
  }
  for (const std::string& line : policy_lines(key)) text += "policy          " + line + "\n";
  print(text);
  return 0;
}

Task<int> key_show_command(const GlobalOptions& global, const std::string& id) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto key = co_await api.call(http::Verb::get, key_path(id));
  if (!key) co_return fail(key.error());
  co_return print_key(global, key.value());
}

/// The body of a change: what is there, with what the options name put over it. The API takes a
/// policy only whole.
Result<json::value> changed_key(const json::value& before, const KeyOptions& options) {
  HAKO_TRY(auto narrowing, narrowing_of(options.policy, WallClock::now()));
  json::object policy = object_member(before, "policy");
  for (const std::string& member : options.unset) {
    HAKO_TRYV(take_out(member, policy, nullptr, "hako key show ID --json"));
  }
  for (const auto& [name, value] : policy::to_json(narrowing)) policy[name] = value;
  json::object body = named(options);
  body["policy"] = std::move(policy);
  return json::value(std::move(body));
}

Task<int> key_set_command(const GlobalOptions& global, const KeyOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto before = co_await api.call(http::Verb::get, key_path(options.id));
  if (!before) co_return fail(before.error());
  auto body = changed_key(before.value(), options);
  if (!body) co_return fail(body.error());
  auto after = co_await api.call(http::Verb::patch, key_path(options.id), std::move(body.value()));
  if (!after) co_return fail(after.error());
  co_return print_key(global, after.value());
}

Task<int> key_rotate_command(const GlobalOptions& global, const RotateOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted;
  if (options.grace) wanted["grace"] = options.grace->count();
  json::value body = std::move(wanted);
  auto rotated = co_await api.call(http::Verb::post, key_path(options.id) + "/rotate",
                                   std::move(body));
  if (!rotated) co_return fail(rotated.error());
  co_return print_secret(global, rotated.value(), "key", "keyID");
}

Task<int> key_remove_command(const GlobalOptions& global, const std::vector<std::string>& ids) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const std::string& id : ids) {
    auto gone = co_await api.call(http::Verb::delete_, key_path(id));
    if (gone) {
      print(id + "\n");
    } else if (gone.error().code() == ErrorCode::not_found) {
      status = fail(Error(ErrorCode::not_found, "there is no key '" + printable_field(id) +
                                                    "': `hako key ls` lists them"));
    } else {
      status = fail(gone.error());
    }
  }
  co_return status;
}

Task<int> token_mint_command(const GlobalOptions& global, const NarrowingOptions& options) {
  auto narrowing = narrowing_of(options, WallClock::now());
  if (!narrowing) co_return fail(narrowing.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::value body = policy::to_json(narrowing.value());
  auto minted = co_await api.call(http::Verb::post, "/v1/tokens", std::move(body));
  if (!minted) co_return fail(minted.error());
  co_return print_secret(global, minted.value(), "token", "tokenID");
}

Task<int> token_revoke_command(const GlobalOptions& global, const std::string& given) {
  auto text = token_text(given);
  if (!text) co_return fail(text.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted;
  wanted[wire::looks_like_macaroon(text.value()) ? "token" : "tokenID"] = text.value();
  json::value body = std::move(wanted);
  auto revoked = co_await api.call(http::Verb::post, "/v1/tokens/revoke", std::move(body));
  co_return revoked ? 0 : fail(revoked.error());
}

}  // namespace

int list_keys(const GlobalOptions& global) {
  return run_to_end([&] {
    std::vector<std::string> heading{"ID", "ROLE", "USER", "NAME", "LEAVES"};
    return print_list(global, "/v1/keys", "keys", std::move(heading), key_row);
  });
}

int create_key(const GlobalOptions& global, const KeyOptions& options) {
  return run_to_end([&] { return key_create_command(global, options); });
}

int show_key(const GlobalOptions& global, const std::string& id) {
  return run_to_end([&] { return key_show_command(global, id); });
}

int set_key(const GlobalOptions& global, const KeyOptions& options) {
  return run_to_end([&] { return key_set_command(global, options); });
}

int rotate_key(const GlobalOptions& global, const RotateOptions& options) {
  return run_to_end([&] { return key_rotate_command(global, options); });
}

int remove_keys(const GlobalOptions& global, const std::vector<std::string>& ids) {
  return run_to_end([&] { return key_remove_command(global, ids); });
}

int mint_token(const GlobalOptions& global, const NarrowingOptions& options) {
  return run_to_end([&] { return token_mint_command(global, options); });
}

int revoke_token(const GlobalOptions& global, const std::string& given) {
  return run_to_end([&] { return token_revoke_command(global, given); });
}

}  // namespace hako::cli
