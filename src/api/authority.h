// Who a request comes from. Nothing is remembered between two requests, so that whatever becomes of
// a tenant, a key or a token counts from the next one on.
#pragma once

#include <string>
#include <string_view>

#include "api/principal.h"
#include "base/async/task.h"
#include "http/message.h"
#include "store/async_store.h"

namespace hako::api {

inline constexpr std::string_view kKeyHeader = "X-API-KEY";
inline constexpr std::string_view kTenantHeader = "X-Hako-Tenant";

/// Thread: one executor.
class Authority {
 public:
  /// `token_master` as token_keys.h has it.
  Authority(const config::Config& config, store::AsyncStore& store, std::string token_master)
      : config_(config), store_(store), master_(std::move(token_master)) {}

  /// By X-API-KEY, a key or a token, and X-Hako-Tenant.
  /// unauthenticated: none, one that is not valid, has expired or was revoked; permission_denied:
  /// its tenant is suspended; not_found: a tenant that is not theirs to act in, whether it is there
  /// or not. A token of an unknown key and one with a wrong signature take the same work.
  Task<Result<Principal>> authenticate(const http::RequestHead& head);

  /// The secret behind tokens, for whoever mints them.
  const std::string& token_master() const { return master_; }

 private:
  struct Found;
  Task<Result<Credential>> by_key(std::string key);
  Task<Result<Credential>> by_token(std::string text);
  Task<Result<Found>> look_up(std::string key_id, std::string token_id);
  Task<Result<void>> choose_tenant(Credential& credential, std::string asked);

  const config::Config& config_;
  store::AsyncStore& store_;
  std::string master_;
};

/// "tenant NAME not found", for one that is not there, and one that is hidden.
Error unknown_tenant(std::string_view name);

}  // namespace hako::api
