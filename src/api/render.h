// Records as clients see them. Pure.
#pragma once

#include <boost/json.hpp>

#include <string>
#include <string_view>

#include "api/grants.h"
#include "config/config.h"
#include "store/store.h"

namespace hako::api {

/// What of E2B's in-guest daemon the guest of this version implements; clients decide by it what
/// they may ask for. Below 0.6.2, as there are no file metadata and no newer watch options.
inline constexpr std::string_view kEnvdVersion = "0.6.4";

/// The answer to create and connect, with the tokens of whoever has asked.
boost::json::object sandbox_json(const store::SandboxRecord& record, const config::Config& config,
                                 const ShownTokens& tokens);
/// An entry of a list; without tokens.
boost::json::object listed_json(const store::SandboxRecord& record);
/// One sandbox in full, with the token of whoever has asked.
boost::json::object detail_json(const store::SandboxRecord& record, const config::Config& config,
                                const ShownTokens& tokens);

}  // namespace hako::api
