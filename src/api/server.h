// From an HTTP exchange to a handler and back: routing, authentication, limits, errors.
#pragma once

#include "api/audit_trail.h"
#include "api/data_plane.h"
#include "api/router.h"
#include "http/server.h"

namespace hako::api {

/// Thread: one executor.
class Server {
 public:
  /// At once; further ones get a 503. Calls of tenants are bounded by tenant (TenantLimits) and not
  /// here, where one could use up what there is for all.
  static constexpr size_t kMostAuthenticating = 512;  ///< nobody keeps one of these for long
  static constexpr size_t kMostOpenCalls = 64;        ///< of routes that ask for no key
  static constexpr size_t kLargestBody = 1 << 20;  ///< bytes; larger ones get a 413

  explicit Server(Service& service) : service_(service), data_plane_(service.config) {}

  /// Serves one request. Every answer carries X-Request-Id, which stands in the log beside what
  /// clients are not told.
  Task<void> handle(http::Exchange& exchange);

 private:
  Task<void> pass_on(http::Exchange& exchange);
  /// An upload with a label raises that of its box first. `head` loses the label.
  Task<Result<void>> admit(http::RequestHead& head);
  Task<http::Response> answer(http::Exchange& exchange, const http::RequestHead& head,
                              const Match& match, CallFacts& facts);
  Task<void> send(http::Exchange& exchange, http::Response response);
  /// Nobody gets an answer of which the audit log knows nothing.
  Task<void> record(const http::RequestHead& head, const Match& match, CallFacts facts,
                    http::Response& response);
  /// One that is paused, and is to come back when somebody comes, does for who may go in.
  Task<Result<void>> wake_for(const http::RequestHead& head);
  /// Whoever shows a key instead of a sandbox's token gets a token of their own put in its place.
  Task<Result<void>> let_in(http::Exchange& exchange, http::RequestHead& head);
  Task<Result<Principal>> uploader(const http::RequestHead& head, const std::string& box);

  Service& service_;
  DataPlane data_plane_;
  size_t authenticating_ = 0, open_calls_ = 0;
};

/// The response that stands for an error, with Retry-After where trying again makes sense.
http::Response response_for(const Error& error);

}  // namespace hako::api
