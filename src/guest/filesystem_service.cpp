#include "guest/filesystem_service.h"

#include "guest/file_tree.h"
#include "guest/paths.h"
#include "wire/connect.h"
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

Task<bool> FilesystemService::handle(std::string_view name, http::Exchange& exchange) {
  const wire::Method* method = wire::find_filesystem_method(name);
  if (!method) co_return false;
  Call call(exchange, *method);
  if (name == "WatchDir") {
    co_await watch_dir(call);
    co_return true;
  }
  auto request = co_await call.read_unary();
  if (!request) co_return true;
  auto work = name.find("Watcher") != std::string_view::npos ? watcher(name, call.head(), *request)
                                                             : change(name, call.head(), *request);
  auto answer = co_await std::move(work);
  co_await call.send_unary(std::move(answer));
  co_return true;
}

Task<Result<std::string>> FilesystemService::change(std::string_view method,
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

Task<Result<std::shared_ptr<Watch>>> FilesystemService::open_watch(
    const http::RequestHead& head, const boost::json::object& request) {
  HAKO_CO_TRY(auto user, user_of_request(context_, head));
  HAKO_CO_TRY(auto options, wire::parse_watch(request));
  HAKO_CO_TRY(auto path,
              resolve_path(options.path, user.home, context_.identity.default_workdir()));
  options.path = std::move(path);
  auto work = [&] { return Watch::open(std::move(options)); };
  HAKO_CO_TRY(auto watch, co_await run_blocking(context_.blocking.threads(), work));
  co_return std::shared_ptr<Watch>(std::move(watch));
}

Task<Result<std::string>> FilesystemService::watcher(std::string_view method,
                                                     const http::RequestHead& head,
                                                     const boost::json::object& request) {
  Watchers& watchers = context_.watchers;
  if (method == "CreateWatcher") {
    HAKO_CO_TRY(auto place, watchers.take_place());
    HAKO_CO_TRY(auto watch, co_await open_watch(head, request));
    HAKO_CO_TRY(auto id,
                watchers.add(std::move(watch), std::move(place), context_.blocking.threads()));
    co_return "{\"watcherId\":\"" + id + "\"}";
  }
  HAKO_CO_TRY(auto id, wire::string_member(request, "watcherId", "watcher_id"));
  if (method == "GetWatcherEvents") co_return watchers.take_events(id.value_or(""));
  HAKO_CO_TRYV(watchers.remove(id.value_or("")));
  co_return std::string("{}");
}

Task<void> FilesystemService::watch_dir(Call& call) {
  using namespace asio::experimental::awaitable_operators;
  bool typed = co_await call.require_stream_type();
  if (!typed) co_return;
  std::optional<Watchers::Place> place;
  auto open = [](FilesystemService& self, Call& call,
                 std::optional<Watchers::Place>& place) -> Task<Result<std::shared_ptr<Watch>>> {
    HAKO_CO_TRY(auto request, co_await call.read_stream_request());
    HAKO_CO_TRY(auto taken, self.context_.watchers.take_place());
    place.emplace(std::move(taken));
    co_return co_await self.open_watch(call.head(), request);
  };
  auto watch = co_await open(*this, call, place);
  if (!watch) {
    co_await call.fail_stream(std::move(watch).error());
    co_return;
  }
  auto executor = co_await asio::this_coro::executor;
  auto signal = WatchSignal::of(executor, *watch.value());
  if (!signal) {
    co_await call.fail_stream(std::move(signal).error());
    co_return;
  }
  auto send = send_changes(call, *watch.value(), std::move(signal.value()));
  auto leave = call.exchange().closed_by_client();
  co_await (std::move(send) || std::move(leave));
}

Task<void> FilesystemService::send_changes(Call& call, Watch& watch, WatchSignal signal) {
  auto keepalive = call.keepalive();
  std::vector<WatchEvent> events;
  auto work = [&] { return watch.collect(events); };
  std::string frames;
  size_t start = wire::begin_frame(frames);
  frames += "{\"start\":{}}";
  wire::end_frame(frames, start);
  for (bool last = false;;) {
    // Of what the kernel tells, some is no news.
    if (!frames.empty()) {
      auto sent = co_await call.send(frames, last);
      if (!sent || last) co_return;
    }
    frames.clear();
    bool news = co_await signal.wait(keepalive);
    if (!news) {
      start = wire::begin_frame(frames);
      frames += "{\"keepalive\":{}}";
      wire::end_frame(frames, start);
      continue;
    }
    events.clear();
    auto collected = co_await run_blocking(context_.blocking.threads(), work);
    for (auto& event : events) {
      start = wire::begin_frame(frames);
      frames += "{\"filesystem\":";
      append_watch_event(frames, event, context_.users);
      frames += '}';
      wire::end_frame(frames, start);
    }
    last = !collected || watch.ended();
    if (!collected) {
      wire::append_end_frame(frames, collected.error());
    } else if (last) {
      wire::append_end_frame(frames);
    }
  }
}

}  // namespace hako::guest
