// Which handler answers which request, and who may ask.
#pragma once

#include "guest/context.h"
#include "guest/files_rest.h"
#include "guest/filesystem_service.h"
#include "guest/metrics.h"
#include "guest/process_service.h"

namespace hako::guest {

class Router {
 public:
  explicit Router(Context& context)
      : context_(context), processes_(context), filesystem_(context), files_(context) {}

  /// Answers one request.
  Task<void> handle(http::Exchange& exchange);

 private:
  /// What only the host may ask; false if this is none of it.
  Task<bool> handle_host_call(std::string_view path, http::Exchange& exchange);
  Task<void> handle_user_call(std::string_view path, http::Exchange& exchange);
  Task<void> handle_rpc(std::string_view path, http::Exchange& exchange);
  Task<void> init(http::Exchange& exchange);
  Result<void> become(const boost::json::object& init, uint16_t peer_port);
  Task<void> freeze(http::Exchange& exchange);
  Task<void> thaw(http::Exchange& exchange);
  bool authorized(const http::RequestHead& head) const;
  std::string environment_body() const;

  Context& context_;
  ProcessService processes_;
  FilesystemService filesystem_;
  FilesRest files_;
  Metrics metrics_;
};

}  // namespace hako::guest
