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

Task<int> key_list_command(const GlobalOptions& global) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto answer = co_await api.call(http::Verb::get, "/v1/keys");
  if (!answer) co_return fail(answer.error());
  const auto* fields = answer.value().if_object();
  const json::value* list = fields ? fields->if_contains("keys") : nullptr;
  json::array keys = list && list->is_array() ? list->get_array() : json::array();
  if (global.json) {
    json::value all = std::move(keys);
    print_json(all);
    co_return 0;
  }
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"ID", "ROLE", "USER", "NAME", "LEAVES"});
  for (const json::value& key : keys) {
    rows.push_back({printable_field(text_member(key, "keyID")),
                    printable_field(text_member(key, "role")),
                    printable_field(text_member(key, "user")),
                    printable_field(text_member(key, "name")), joined_policy(key)});
  }
  print(format_table(rows));
  co_return 0;
}

Task<int> key_create_command(const GlobalOptions& global, const KeyOptions& options) {
  auto narrowing = narrowing_of(options.policy, WallClock::now());
  if (!narrowing) co_return fail(narrowing.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted;
  if (!options.role.empty()) wanted["role"] = options.role;
  if (!options.user.empty()) wanted["user"] = options.user;
  if (!options.name.empty()) wanted["name"] = options.name;
  wanted["policy"] = policy::to_json(narrowing.value());
  json::value body = std::move(wanted);
  auto made = co_await api.call(http::Verb::post, "/v1/keys", std::move(body));
  if (!made) co_return fail(made.error());
  co_return print_secret(global, made.value(), "key", "keyID");
}

Task<int> key_show_command(const GlobalOptions& global, const std::string& id) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto key = co_await api.call(http::Verb::get, key_path(id));
  if (!key) co_return fail(key.error());
  if (global.json) {
    print_json(key.value());
    co_return 0;
  }
  std::string text;
  for (const char* member : {"keyID", "tenant", "role", "user", "name", "createdAt",
                             "oldSecretUntil"}) {
    std::string value = printable_field(text_member(key.value(), member));
    std::string label(member);
    label.resize(16, ' ');
    if (!value.empty()) text += label + value + "\n";
  }
  for (const std::string& line : policy_lines(key.value())) {
    text += "policy          " + line + "\n";
  }
  print(text);
  co_return 0;
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
  return run_to_end([&] { return key_list_command(global); });
}

int create_key(const GlobalOptions& global, const KeyOptions& options) {
  return run_to_end([&] { return key_create_command(global, options); });
}

int show_key(const GlobalOptions& global, const std::string& id) {
  return run_to_end([&] { return key_show_command(global, id); });
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
