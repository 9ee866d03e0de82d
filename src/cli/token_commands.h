// The commands about tokens, as the parser knows them.
#pragma once

#include "cli/narrowing.h"

namespace hako::cli {

/// `token`: a token, "-" for standard input, or empty for the environment's.
struct TokenOptions {
  std::string token;
  NarrowingOptions narrowing;
};

/// Everything the parser fills for them; must live as long as the parser.
struct TokenCommandOptions {
  TokenOptions narrow, show;
  NarrowingOptions mint;
  std::string revoke;
};

/// `token`. `status` becomes the exit status.
void add_token_commands(CLI::App& app, GlobalOptions& global, TokenCommandOptions& options,
                        int& status);

// token.cpp. Neither asks anybody.
int narrow_token(const TokenOptions& options);
int show_token(const GlobalOptions& global, const TokenOptions& options);
/// What was given, or standard input for "-".
Result<std::string> token_text(const std::string& given);

// keys.cpp. These ask the API.
int mint_token(const GlobalOptions& global, const NarrowingOptions& options);
/// `given`: a token, its identifier, or "-".
int revoke_token(const GlobalOptions& global, const std::string& given);

}  // namespace hako::cli
