// filesystem.Filesystem: looking at and changing the tree of files.
#pragma once

#include <boost/json/object.hpp>

#include <string_view>

#include "guest/context.h"

namespace hako::guest {

class FilesystemService {
 public:
  explicit FilesystemService(Context& context) : context_(context) {}

  /// Answers a call of `method`; false if there is no such method (nothing has been sent).
  Task<bool> handle(std::string_view method, http::Exchange& exchange);

 private:
  Task<Result<std::string>> call(std::string_view method, const http::RequestHead& head,
                                 const boost::json::object& request);

  Context& context_;
};

}  // namespace hako::guest
