#include "guest/filesystem_service.h"

#include "guest/file_tree.h"
#include "guest/paths.h"
#include "guest/rpc.h"
#include "wire/json_text.h"

namespace hako::guest {
namespace {

constexpr size_t kMostEntries = 100'000;
constexpr int64_t kDeepest = 64;

void append_found(std::string& body, FoundEntry& entry, UserDatabase& users) {
  entry.info.owner = users.user_name(entry.uid);
  entry.info.group = users.group_name(entry.gid);
  wire::append_entry(body, entry.info);
}

Result<std::string> path_member(const boost::json::object& request, std::string_view name,
                                const User& user, const Identity& identity) {
  HAKO_TRY(auto given, wire::string_member(request, name));
  return resolve_path(given.value_or(""), user.home, identity.default_workdir());
}

}  // namespace

Task<bool> FilesystemService::handle(std::string_view method, http::Exchange& exchange) {
  if (method == "WatchDir") {
    bool typed = co_await require_stream_type(exchange);
    if (typed) {
      auto request = co_await read_stream_request(exchange);
      Error error(ErrorCode::unsupported, "watching directories is not supported");
      co_await fail_stream(exchange, request ? std::move(error) : std::move(request).error());
    }
    co_return true;
  }
  bool watcher =
      method == "CreateWatcher" || method == "GetWatcherEvents" || method == "RemoveWatcher";
  bool known = method == "Stat" || method == "MakeDir" || method == "Move" || method == "ListDir" ||
               method == "Remove";
  if (!watcher && !known) co_return false;
  auto request = co_await read_unary(exchange);
  if (!request) co_return true;
  if (watcher) {
    Result<void> refusal = Error(ErrorCode::unsupported, "watching directories is not supported");
    co_await send_unary(exchange, std::move(refusal));
    co_return true;
  }
  auto answer = co_await call(method, exchange.head(), *request);
  co_await send_unary(exchange, std::move(answer));
  co_return true;
}

Task<Result<std::string>> FilesystemService::call(std::string_view method,
                                                  const http::RequestHead& head,
                                                  const boost::json::object& request) {
  HAKO_CO_TRY(auto user, user_of_request(context_, head));
  bool moves = method == "Move";
  HAKO_CO_TRY(auto path, path_member(request, moves ? "source" : "path", user, context_.identity));
  std::string destination;
  if (moves) {
    HAKO_CO_TRY(auto given, path_member(request, "destination", user, context_.identity));
    destination = std::move(given);
  }
  HAKO_CO_TRY(auto depth, wire::int_member(request, "depth"));
  int levels = static_cast<int>(std::clamp<int64_t>(depth.value_or(1), 1, kDeepest));
  Owner owner{user.uid, user.gid, context_.settings.change_user};

  // On a thread of the pool: a slow or dead file system must not hold up the others.
  std::vector<FoundEntry> entries;
  bool lists = method == "ListDir", removes = method == "Remove";
  auto work = [&]() -> Result<void> {
    if (removes) return remove_entry(path);
    if (lists) {
      HAKO_TRY(auto found, list_entries(path, levels, kMostEntries));
      entries = std::move(found);
      return ok();
    }
    if (moves) {
      HAKO_TRYV(move_entry(path, destination, owner));
    } else if (method == "MakeDir") {
      HAKO_TRYV(make_directory(path, owner));
    }
    HAKO_TRY(auto entry, stat_entry(moves ? destination : path));
    entries.push_back(std::move(entry));
    return ok();
  };
  HAKO_CO_TRYV(co_await run_blocking(context_.blocking.threads(), work));

  std::string body;
  if (removes) {
    body = "{}";
  } else if (lists) {
    body = "{\"entries\":[";
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) body += ',';
      append_found(body, entries[i], context_.users);
    }
    body += "]}";
  } else {
    body = "{\"entry\":";
    append_found(body, entries.front(), context_.users);
    body += '}';
  }
  co_return body;
}

}  // namespace hako::guest
