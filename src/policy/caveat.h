// Narrowings as text: the caveats of tokens, one line each. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/permission.h"

namespace hako::policy {

inline constexpr size_t kLongestCaveat = 1024;  ///< bytes
inline constexpr size_t kMostCaveats = 32;      ///< of one token

/// One caveat, which sets one member:
///   tenant = acme                      agent = build/worker-1
///   sandbox = iabc,idef                template = base,python
///   actions = sandbox.read,files.read  label <= internal
///   egress = none                      egress = internet
///   egress = allow example.com:443 *.example.org
///   egress = deny 192.0.2.0/24
///   memory_mb <= 512                   cpus <= 2
///   ttl <= 3600                        boxes <= 3
///   model = claude-*,gpt-5             model_requests <= 100
///   model_tokens <= 1000000            model_microusd <= 5000000
///   egress_bytes <= 1000000            expires < 2026-12-01T00:00:00Z
/// Spaces around the sign and around entries count for nothing. An empty list leaves nothing.
/// invalid_argument says what is wrong: a caveat that nobody understands leaves nothing, and never
/// everything.
Result<Narrowing> parse_caveat(std::string_view text);

/// The caveats that together leave what `narrowing` does.
std::vector<std::string> to_caveats(const Narrowing& narrowing);

}  // namespace hako::policy
