// From an HTTP exchange to a handler and back: routing, authentication, limits, errors.
#pragma once

#include "api/data_plane.h"
#include "api/router.h"
#include "http/server.h"

namespace hako::api {

/// Thread: one executor.
class Server {
 public:
  static constexpr size_t kMostCalls = 512;        ///< at once; further ones get a 503
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
                              const Match& match);
  /// Whoever shows a key instead of a sandbox's token gets a token of their own put in its place.
  Task<Result<void>> let_in(http::RequestHead& head);
  Task<Result<Principal>> uploader(const http::RequestHead& head, const std::string& box);

  Service& service_;
  DataPlane data_plane_;
  size_t calls_ = 0;
};

/// The response that stands for an error, with Retry-After where trying again makes sense.
http::Response response_for(const Error& error);

}  // namespace hako::api
