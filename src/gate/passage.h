// The way of one TCP connection out of a box.
#pragma once

#include <vector>

#include "gate/agreement.h"
#include "gate/egress_records.h"
#include "gate/name_cache.h"
#include "gate/traffic.h"
#include "http/stream.h"
#include "policy/egress.h"

namespace hako::gate {

class EgressBox;

/// From the accepted connection to its end: where it was meant to go, whether that is allowed,
/// whether what is said on it agrees with that, then bytes both ways. Known to its box for as long
/// as it exists. What is not allowed is reset at once, or answered with 403 where HTTP is spoken.
class Passage {
 public:
  using Clock = std::chrono::steady_clock;

  Passage(EgressBox& box, http::Stream client);
  ~Passage();
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

  /// To its end. Cancel: safe, both connections are reset.
  Task<void> run();

  /// Resets both connections unless the box's policy, which has changed, still lets them be.
  void judge_again();
  /// Resets both connections at once; run() ends soon.
  void cut(std::string reason);
  /// Resets both connections if what passes on them is not judged any more and has a secret in it.
  void secrets_changed();
  /// Bytes could have moved in either direction since `when`, and none has.
  bool idle_since(Clock::time_point when) const;

 private:
  struct Refusal {
    std::string rule;
    std::string reason;
  };
  using Judge = Opening (*)(std::string_view bytes, const Expected& expected);

  /// By then a client has said whom it wants, also one that is emulated on a machine with a lot to do.
  static constexpr Duration kOpeningTime = std::chrono::seconds(20);
  static constexpr char kLateOpening[] = "the client did not say for whom in time";

  Task<void> go();
  Task<void> go_by_link(policy::EgressLink link);
  Task<void> go_by_policy();
  /// Where the destination leads, as far as that is allowed; nothing if it has been refused.
  Task<Addresses> find_addresses();
  /// TLS for the right name, then on.
  Task<void> pass_tls(Addresses addresses);
  /// TLS for the right name, which ends here: secrets are put into the requests.
  Task<void> pass_intercepted(Addresses addresses);
  Task<void> serve_intercepted(http::Stream client, Addresses addresses);
  /// A connection to the server, which has proved to be who it should be.
  Task<Result<http::Stream>> connect_encrypted(Addresses addresses);
  /// HTTP requests, each for the right name.
  Task<void> pass_http(Addresses addresses);
  /// At once; what the client says first is looked at when it comes.
  Task<void> pass_watched(Addresses addresses);
  Task<Result<void>> pass_in();
  Task<Result<void>> pass_in_until_stopped();
  Task<Result<void>> pass_out_watched(const Addresses& addresses);
  /// Nothing more passes from the server; what has passed or was under way is counted.
  Task<void> stop_in();

  /// Reads until the bytes say what they are. unavailable: the connection has ended before.
  Task<Result<Opening>> read_opening(Judge judge);
  /// Sends the first hello, which has been judged and is the first `size` bytes of what is
  /// pending, and nothing behind it before it is known that no other name can follow. What is left
  /// to do is relay().
  Task<Result<void>> begin_tls(size_t size);
  /// Passes the server's answer to a hello on, as it comes: whether it wants another one.
  Task<Result<bool>> pass_hello_reply();
  static std::optional<Refusal> refusal_of_tls(const Result<Opening>& opening);
  /// What is known is enough to go on; notes it and connects.
  Task<Result<void>> connect(Addresses addresses);
  Task<Result<http::Stream>> connect_for_http(Addresses addresses);
  Task<Result<void>> send_pending();
  /// Some bytes from the server to the client, put behind `seen`, too. How many; 0: the server has
  /// ended.
  Task<Result<size_t>> pass_piece_in(std::vector<uint8_t>& seen);
  /// Both ways, to the end.
  Task<void> relay(http::Stream& upstream);
  Task<void> serve_http(Addresses addresses);
  Expected expected();
  /// Whether the box has secrets for some host on this port, so that whoever names one of these must be
  /// looked into.
  bool port_has_secrets() const;
  /// Whether `said` may be named on a connection to an address.
  bool may_name(const std::string& said) const;

  /// For cut(), before somebody else gets the stream. False if no descriptor is left for it.
  bool keep_handle(Fd& into, http::Stream& stream);
  std::optional<Refusal> objection() const;
  Task<void> refuse(Refusal refusal);
  void note_allowed();
  void note_denied(const Refusal& refusal);
  void note_end();
  EgressRecord record(std::string_view verdict) const;

  EgressBox& box_;
  http::Stream client_;
  std::optional<http::Stream> upstream_;
  Fd client_handle_, upstream_handle_;  ///< for cut(), where others own the streams
  Meter meter_;
  policy::Destination destination_;
  std::optional<policy::EgressLink> link_;
  policy::Decision allowed_by_;
  std::string pending_;  ///< read from the client and not sent yet
  bool judged_ = false;  ///< a policy has let it pass so far
  std::string said_;  ///< on a connection to an address: the name named last, which it may be for
  bool agrees_ = false;  ///< what is said on it is compared with its name, or will be
  bool watched_ = false;      ///< what is said on it is looked at, as it may name a host with secrets
  bool intercepted_ = false;  ///< TLS ends here
  bool switched_ = false;     ///< of intercepted: HTTP has become another protocol
  bool relaying_ = false;
  bool cut_ = false;
  bool ended_well_ = false;
  /// Runs out when nothing more may pass from the server before the client has been judged.
  asio::steady_timer in_may_pass_{client_.get_executor(), Clock::time_point::max()};
  bool in_ended_ = false;
  uint64_t connection_ = 0;  ///< its number, once it was allowed
  std::string end_reason_;
};

}  // namespace hako::gate
