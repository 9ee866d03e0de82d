// Tokens: minted from keys, and revoked one by one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/key_records.h"
#include "wire/macaroon.h"

namespace hako::api {

/// Of one key. A key of which more have to be revoked is rotated.
inline constexpr int64_t kMostRevoked = 10'000;

struct MintedToken {
  wire::Macaroon token;
  std::string text;  ///< the token itself; shown this once
};

/// A token, or its identifier alone.
struct Revocation {
  std::string identifier;
  std::optional<wire::Macaroon> token;
};

/// The body of POST /v1/tokens: a narrowing, as narrowing_from() has it; empty for none.
Result<policy::Narrowing> parse_token_request(std::string_view body);
/// {token} or {tokenID}. invalid_argument.
Result<Revocation> parse_revocation(std::string_view body);

/// Errors of all calls are fit for the user. Thread: one executor. Calls may overlap.
class Tokens {
 public:
  /// `master` as token_keys.h has it.
  Tokens(store::AsyncStore& store, std::string master, KeysChanged changed)
      : store_(store), master_(std::move(master)), changed_(std::move(changed)) {}

  /// A token of the key of `who` that leaves no more than `wanted`. Where they came with a token,
  /// `shown` is it, and the new one is that one narrowed, so that it goes when that goes.
  /// permission_denied if nothing would be left; invalid_argument if it does not fit into a token.
  Task<Result<MintedToken>> mint(policy::Narrowing wanted, Principal who, std::string shown);
  /// With it goes everything that its holders have narrowed of it, so the key that it is of ends
  /// it, or who may manage that key; a token of the same key does not. not_found;
  /// permission_denied; invalid_argument for one that this server did not mint;
  /// resource_exhausted.
  Task<Result<void>> revoke(Revocation what, Principal who);

 private:
  store::AsyncStore& store_;
  std::string master_;
  KeysChanged changed_;
};

}  // namespace hako::api
