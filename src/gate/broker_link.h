// The gate's connection with the api for what it looks into: secrets of boxes, and calls of models.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "gate/box_secrets.h"
#include "rpc/peer.h"

namespace hako::gate {

/// Keeps a connection to the api's broker.sock (see docs/internal-messages.md). What it is told of a
/// box it keeps in memory until the api says that it has changed, the box has gone, or the connection
/// ends. While the api is away nothing is looked into, and so nothing passes. Thread: one executor.
class BrokerLink {
 public:
  static constexpr size_t kMostBoxes = 8192;
  static constexpr size_t kMostUnsettled = 64 << 10;
  /// How long a connection of a box waits for an api that is away, as while it starts anew.
  static constexpr Duration kApiPatience = std::chrono::seconds(5);

  BrokerLink(asio::any_io_executor executor, std::string socket_path)
      : socket_path_(std::move(socket_path)), tasks_(executor) {}

  /// Connects, and again whenever the connection ends, until cancelled.
  Task<void> run();

  /// Asked for once for all who want it meanwhile. Errors: not_found (nothing of it is intercepted),
  /// unavailable, timed_out, and those of parse_box_secrets().
  Task<Result<BoxSecretsRef>> secrets(std::string box);
  /// What is kept at the moment; null if that is nothing.
  BoxSecretsRef kept(const std::string& box) const;
  /// Whether it is a placeholder of another box, as far as that one's secrets are kept: somebody has
  /// carried it from there to here.
  bool is_of_another(const std::string& box, std::string_view placeholder) const;
  /// The box has gone.
  void forget(const std::string& box);
  /// `told` is called when what is kept of a box has been let go because it has changed; with an empty
  /// name: of all.
  void on_changed(std::function<void(const std::string& box)> told) { changed_ = std::move(told); }

  /// model.reserve: the reservation. Errors are those of the api, and unavailable. Cancel: safe, what was
  /// reserved is given back.
  Task<Result<std::string>> reserve(boost::json::object call);
  /// model.settle, whose body has the reservation: now, or when the api is back.
  void settle(boost::json::object settlement);
  size_t unsettled() const { return unsettled_.size(); }

 private:
  struct Fetch {
    std::optional<Result<BoxSecretsRef>> outcome;
    Condition done;
  };
  using FetchRef = std::shared_ptr<Fetch>;

  struct Asking {
    std::optional<Result<std::string>> outcome;
    bool wanted = true;
    Condition answered;
  };

  void begin(const std::shared_ptr<rpc::Peer>& peer);
  void forget_all();
  /// What is looked up need not be copied.
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  Task<void> fetch(std::string box, FetchRef into);
  Task<Result<BoxSecretsRef>> get(std::string box);
  /// A connection with the api, waited for if need be; null if there is none.
  Task<std::shared_ptr<rpc::Peer>> api();
  Task<Result<rpc::Payload>> take_change(rpc::Payload told);
  Task<void> ask(boost::json::object call, std::shared_ptr<Asking> asking);
  Task<Result<std::string>> ask_for_reservation(boost::json::object call);
  /// Nothing came of it.
  void give_back(const std::string& reservation);
  Task<void> send_settlement(std::string reservation);

  std::string socket_path_;
  TaskGroup tasks_;
  std::shared_ptr<rpc::Peer> api_;
  Condition connected_;
  std::map<std::string, FetchRef> boxes_;  ///< under way, or kept
  /// Boxes, by placeholders of those kept.
  std::unordered_map<std::string, std::string, TextHash, std::equal_to<>> owners_;
  std::map<std::string, boost::json::object> unsettled_;
  std::function<void(const std::string& box)> changed_;
};

}  // namespace hako::gate
