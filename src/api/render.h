// Records as clients see them. Pure.
#pragma once

#include <boost/json.hpp>

#include <string>
#include <string_view>

#include "config/config.h"
#include "store/store.h"

namespace hako::api {

/// What of E2B's in-guest daemon the guest of this version implements; clients decide by it what
/// they may ask for. Below 0.6.2, as there are no file metadata and no newer watch options.
inline constexpr std::string_view kEnvdVersion = "0.5.7";

/// The answer to create and connect, with the access token.
boost::json::object sandbox_json(const store::SandboxRecord& record, const config::Config& config);
/// An entry of a list; without the token.
boost::json::object listed_json(const store::SandboxRecord& record);
/// One sandbox in full, with the token.
boost::json::object detail_json(const store::SandboxRecord& record, const config::Config& config);

/// Which lines of a console to show.
struct LogQuery {
  int64_t not_before_ms = 0;
  size_t limit = 1000;
  bool backward = false;
  std::string search;
  bool info = true;  ///< whether the level asked for includes what the guest writes
};
/// Console text as lines without control characters. Bytes that are not UTF-8 cannot occur, as the
/// text has come as JSON.
std::vector<std::string> console_lines(std::string_view console);
/// The last (forward: of these, oldest first; backward: newest first) lines that fit. A console has
/// no clock: every line counts as written when the sandbox started.
std::vector<std::string> select_lines(std::vector<std::string> lines, int64_t started_ms,
                                      const LogQuery& query);

}  // namespace hako::api
