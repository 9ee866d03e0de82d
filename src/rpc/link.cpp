#include "rpc/link.h"

#include <algorithm>

namespace hako::rpc {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFirstPause = 20ms;
constexpr Duration kLongestPause = 1s;

Task<void> serve_link(Fd connection, const Link& link) {
  auto peer = std::make_shared<Peer>(co_await asio::this_coro::executor, std::move(connection));
  link.begin(peer);
  std::exception_ptr fault;
  try {
    co_await peer->run();
  } catch (...) {
    fault = std::current_exception();
  }
  // Its end shields whoever runs it from cancellation. We go on, and must hear of ours.
  co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
  link.end();
  if (fault) std::rethrow_exception(fault);
}

Task<void> connect_again_and_again(const Link& link) {
  Duration pause = kFirstPause;
  bool reported = false;
  for (;;) {
    auto connection = co_await connect_unix(link.path);
    if (connection) {
      pause = kFirstPause;
      reported = false;
      co_await serve_link(std::move(connection).value(), link);
    } else if (!std::exchange(reported, true) && link.unreachable) {
      link.unreachable(connection.error());
    }
    co_await sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace

Task<void> keep_connected(Link link, TaskGroup& tasks) {
  std::exception_ptr stopped;
  try {
    co_await connect_again_and_again(link);
  } catch (...) {
    stopped = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await tasks.stop();
  std::rethrow_exception(stopped);
}

Task<void> Peers::serve(Fd listener, uid_t uid, Begin begin) {
  std::function<Task<void>(Fd, uid_t)> serve_each = [this, &begin](Fd connection, uid_t) {
    return serve_one(std::move(connection), begin);
  };
  std::vector<uid_t> allowed{uid};
  co_await accept_peers(std::move(listener), std::move(allowed), std::move(serve_each));
}

Task<void> Peers::serve_one(Fd connection, const Begin& begin) {
  auto executor = co_await asio::this_coro::executor;
  auto peer = std::make_shared<Peer>(executor, std::move(connection));
  if (!begin(*peer)) co_return;
  peers_.push_back(peer);
  co_await peer->run();
}

void Peers::tell_all(const char* method, const boost::json::object& body) {
  std::erase_if(peers_, [](const auto& peer) { return peer.expired(); });
  for (const auto& weak : peers_) {
    auto peer = weak.lock();
    if (!peer) continue;
    Payload payload;
    payload.body = body;
    if (!peer->tell(method, std::move(payload))) peer->close();
  }
}

}  // namespace hako::rpc
