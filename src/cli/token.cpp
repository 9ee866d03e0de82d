// Tokens as their holder handles them: nothing here talks to the API.
#include <stdlib.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "base/fd.h"
#include "cli/output.h"
#include "cli/text.h"
#include "cli/token_commands.h"
#include "policy/caveat.h"
#include "wire/macaroon.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

Result<std::string> read_standard_input() {
  std::string text;
  char buffer[4096];
  while (text.size() <= wire::kLongestMacaroon) {
    ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read standard input");
    if (got == 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

std::string trimmed(std::string text) {
  constexpr const char* kSpace = " \t\r\n";
  text.erase(text.find_last_not_of(kSpace) + 1);
  return text.erase(0, text.find_first_not_of(kSpace));
}

Result<std::string> find_text(const std::string& given) {
  if (!given.empty()) return token_text(given);
  for (const char* name : {"HAKO_API_KEY", "E2B_API_KEY"}) {
    const char* text = ::getenv(name);
    if (text && *text) return trimmed(text);
  }
  return Error(ErrorCode::invalid_argument,
               "no token: give one, or - to read it from standard input, or set HAKO_API_KEY");
}

/// Never says in a message what the text is: it is a secret, or was meant to be one.
Result<wire::Macaroon> find_token(const std::string& given) {
  HAKO_TRY(auto text, find_text(given));
  if (!wire::looks_like_macaroon(text) && text.starts_with("e2b_")) {
    return Error(ErrorCode::invalid_argument,
                 "this is a key, and only tokens can be narrowed by their holder: make one of it "
                 "with `hako token mint`");
  }
  return wire::parse_macaroon(text);
}

Result<std::string> narrowed(const TokenOptions& options) {
  HAKO_TRY(auto caveats, caveats_of(options.narrowing, WallClock::now()));
  if (caveats.empty()) {
    return Error(ErrorCode::invalid_argument,
                 "say what the new token leaves, like --sandbox ID or --expires 1h");
  }
  HAKO_TRY(auto token, find_token(options.token));
  for (const std::string& caveat : caveats) {
    HAKO_TRY(auto narrower, wire::narrow(std::move(token), caveat));
    token = std::move(narrower);
  }
  return wire::to_string(token);
}

/// Why nothing is left, if the caveats alone say so.
std::string dead_end(const wire::Macaroon& token) {
  policy::Permission permission;
  for (const std::string& text : token.caveats) {
    std::string name = "caveat " + std::to_string(permission.size() + 1);
    auto leaves = policy::parse_caveat(text);
    if (!leaves) return name + " is not understood: " + leaves.error().message();
    permission.push_back({std::move(name), std::move(leaves).value(), {}});
  }
  auto left = policy::effective(permission);
  if (!left.contradiction.empty()) return left.contradiction;
  if (left.expires_ms && *left.expires_ms <= to_unix_ms(WallClock::now())) return "it has expired";
  return {};
}

void print_token(const wire::Macaroon& token, const std::string& nothing_left) {
  std::string text = "identifier  " + printable_field(token.identifier) + "\n";
  for (size_t i = 0; i < token.caveats.size(); ++i) {
    text += "caveat " + std::to_string(i + 1) + (i < 9 ? "    " : "   ") +
            printable_field(token.caveats[i]) + "\n";
  }
  if (!nothing_left.empty()) text += "It leaves nothing: " + printable_field(nothing_left) + "\n";
  print(text);
}

}  // namespace

Result<std::string> token_text(const std::string& given) {
  if (given != "-") return given;
  HAKO_TRY(auto text, read_standard_input());
  return trimmed(std::move(text));
}

int narrow_token(const TokenOptions& options) {
  auto text = narrowed(options);
  if (!text) return fail(text.error());
  print(text.value() + "\n");
  return 0;
}

int show_token(const GlobalOptions& global, const TokenOptions& options) {
  auto token = find_token(options.token);
  if (!token) return fail(token.error());
  std::string nothing_left = dead_end(token.value());
  if (!global.json) {
    print_token(token.value(), nothing_left);
    return 0;
  }
  json::object object;
  object["identifier"] = token.value().identifier;
  object["caveats"] = json::array(token.value().caveats.begin(), token.value().caveats.end());
  if (!nothing_left.empty()) object["leavesNothing"] = nothing_left;
  print_json(object);
  return 0;
}

}  // namespace hako::cli
