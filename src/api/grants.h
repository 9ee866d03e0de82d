// Tokens for single boxes: what clients get in place of the guest's own, each good for what its
// holder may do, and gone when they may no more. Pure.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/principal.h"
#include "store/store.h"

namespace hako::api {

/// What one principal was given for one sandbox.
struct Grant {
  std::string token;
  std::string key_id;
  std::string token_id;      ///< of a token of that key; empty for the key itself
  std::string key_state;     ///< Principal::key_state when it was given
  policy::ActionSet actions;  ///< on what is in the sandbox, and its ports
  policy::Label clearance = policy::Label::public_data;
  int64_t expires_ms = 0;  ///< 0: never
  int64_t given_ms = 0;
  int64_t narrowed = 0;  ///< how many caveats the token has

  bool operator==(const Grant&) const = default;
};
using Grants = std::vector<Grant>;

/// Of one sandbox, the API's own not counted: the gate takes one more.
inline constexpr size_t kMostSandboxGrants = 63;
/// Of these, for one key itself or one token with all that was narrowed from it: whoever holds a token
/// can make ever so many others of it.
inline constexpr size_t kMostGrantsOfOne = 8;

/// What takes data in or out of a box: without one of these there is nothing to give.
inline constexpr policy::ActionSet kInsideActions = {
    policy::Action::sandbox_exec, policy::Action::files_read, policy::Action::files_write};

/// As SandboxRecord::grants has them, and back. What cannot be read grants nothing.
std::string write_grants(const Grants& grants);
Grants parse_grants(std::string_view stored);

/// The grant of `who` for this sandbox, the same each time: its token is the first 40 hex digits of
/// HMAC-SHA256(the guest's own token, all that it is good for). Nothing for who may neither look
/// into it nor use its ports, and for a sandbox that is open to everybody.
std::optional<Grant> grant_for(const Principal& who, const store::SandboxRecord& record);

/// Whether another may make room for a new one.
enum class Room { made, if_free };

/// Adds one, and leaves out what has expired by `now_ms`. Whether anything has changed. With too many
/// of its own token, of those the one goes that was narrowed most, but none that was narrowed less
/// than the new one: so nobody takes away what the maker of their token has. With too many in all, it
/// is one of the key that has most of them. resource_exhausted where none may go.
Result<bool> add_grant(Grants& grants, Grant grant, int64_t now_ms, Room room = Room::made);

/// The one with this token that counts at `now_ms`; null for none.
const Grant* find_grant(const Grants& grants, std::string_view token, int64_t now_ms);

/// A record of a version that knew no grants: everybody has the guest's own token, or the one for
/// its ports, and goes on with it until the key that made the sandbox changes. `key_state`: that of
/// this key now.
Grant grant_of_before(const store::SandboxRecord& record, std::string key_state);
bool is_of_before(const Grant& grant, const store::SandboxRecord& record);

/// Whoever holds the grant, as what they may do with the sandbox.
Principal holder_of(const Grant& grant, const store::SandboxRecord& record);

/// The API's own token, good for looking at the sandbox's metrics.
std::string own_token(const store::SandboxRecord& record);
/// What the gate is told: `ingress.grants` of docs/internal-messages.md.
boost::json::array ingress_grants(const store::SandboxRecord& record);

/// What an answer shows whoever has asked; both may be empty.
struct ShownTokens {
  std::string inside;  ///< envdAccessToken
  std::string ports;   ///< trafficAccessToken
};
ShownTokens shown_tokens(const Principal& who, const store::SandboxRecord& record);

}  // namespace hako::api
