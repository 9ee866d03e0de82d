// /files: contents of files, streamed.
#pragma once

#include <string_view>

#include "guest/context.h"

namespace hako::guest {

class FilesRest {
 public:
  explicit FilesRest(Context& context) : context_(context) {}

  /// Answers a request for /files, after checking that it may be made.
  Task<void> handle(http::Exchange& exchange);
  /// Answers POST /files/compose, whose right has been checked.
  Task<void> compose(http::Exchange& exchange);

 private:
  Result<void> authorize(const http::RequestHead& head) const;

  Context& context_;
};

}  // namespace hako::guest
