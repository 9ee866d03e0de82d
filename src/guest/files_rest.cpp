#include "guest/files_rest.h"

#include <ctime>

#include "guest/compose.h"
#include "guest/download.h"
#include "guest/headers.h"
#include "guest/paths.h"
#include "guest/receive.h"
#include "wire/signature.h"

namespace hako::guest {

Result<void> FilesRest::authorize(const http::RequestHead& head) const {
  const std::string& token = context_.identity.access_token();
  if (token.empty()) return ok();
  std::string_view given = head.header("X-Access-Token");
  if (!given.empty()) {
    if (wire::equal_secrets(given, token)) return ok();
    return Error(ErrorCode::unauthenticated, "access token present in header but does not match");
  }
  auto signature = head.parameter("signature");
  if (!signature) return Error(ErrorCode::unauthenticated, "missing signature query parameter");
  std::string path = head.parameter("path").value_or("");
  std::string user = head.parameter("username").value_or("");
  wire::FileGrant grant{path, head.method == http::Verb::get ? "read" : "write", user, {}};
  if (auto expiration = head.parameter("signature_expiration")) {
    auto seconds = parse_number(*expiration);
    if (!seconds || *seconds > INT64_MAX)
      return Error(ErrorCode::unauthenticated, "invalid signature");
    grant.expires = static_cast<int64_t>(*seconds);
  }
  return wire::verify_signature(grant, token, *signature, std::time(nullptr));
}

Task<void> FilesRest::handle(http::Exchange& exchange) {
  const http::RequestHead& head = exchange.head();
  auto allowed = authorize(head);
  auto user = allowed ? find_user(context_, head.parameter("username").value_or(""))
                      : Result<User>(std::move(allowed).error());
  if (!user) {
    co_await send_error(exchange, rest_status(user.error()), user.error().message());
    co_return;
  }
  auto wanted = head.parameter("path");
  if (head.method == http::Verb::get) {
    auto path =
        resolve_path(wanted.value_or(""), user.value().home, context_.identity.default_workdir());
    if (path) {
      co_await download(context_, exchange, path.value());
    } else {
      co_await send_error(exchange, rest_status(path.error()), path.error().message());
    }
    co_return;
  }
  if (wanted && wanted->empty()) wanted.reset();
  auto stored =
      co_await receive_files(context_, exchange, std::move(user.value()), std::move(wanted));
  if (stored) {
    co_await send_json(exchange, 200, describe_stored(stored.value()));
  } else {
    co_await send_error(exchange, rest_status(stored.error()), stored.error().message());
  }
}

Task<void> FilesRest::compose(http::Exchange& exchange) {
  auto composed = co_await compose_files(context_, exchange);
  if (composed) {
    co_await send_json(exchange, 200, std::move(composed.value()));
  } else {
    co_await send_error(exchange, rest_status(composed.error()), composed.error().message());
  }
}

}  // namespace hako::guest
