// filesystem.Filesystem: looking at, changing and watching the tree of files.
#pragma once

#include <boost/json/object.hpp>

#include <string_view>

#include "guest/context.h"
#include "guest/rpc.h"

namespace hako::guest {

class FilesystemService {
 public:
  explicit FilesystemService(Context& context) : context_(context) {}

  /// Answers a call of `method`; false if there is no such method (nothing has been sent).
  Task<bool> handle(std::string_view method, http::Exchange& exchange);

 private:
  Task<Result<std::string>> change(std::string_view method, const http::RequestHead& head,
                                   const boost::json::object& request);
  Task<Result<std::string>> watcher(std::string_view method, const http::RequestHead& head,
                                    const boost::json::object& request);
  Task<Result<std::shared_ptr<Watch>>> open_watch(const http::RequestHead& head,
                                                  const boost::json::object& request);
  Task<void> watch_dir(Call& call);
  Task<void> send_changes(Call& call, Watch& watch, WatchSignal signal);

  Context& context_;
};

}  // namespace hako::guest
