// Who may ask a box's daemon, and what for: tokens that stand for a key, or a part of one. Pure.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "http/message.h"
#include "policy/actions.h"
#include "wire/signature.h"

namespace hako::gate {

struct Grant {
  std::string token;
  std::string key;  ///< who holds it, for the records
  policy::ActionSet actions;
  std::optional<WallTime> expires;  ///< from then on it is good for nothing
};
using Grants = std::vector<Grant>;

inline constexpr size_t kMostGrants = 64;

/// Reads `ingress.grants`. invalid_argument names the member: no list, an action that nobody knows,
/// a token twice; too_large.
Result<Grants> parse_grants(const boost::json::value& list);

/// What a connection goes on by: it ends with the grant, and when that is no longer good for this.
struct Admission {
  std::string token;
  std::string key;
  policy::Action action = policy::Action::sandbox_exec;
  std::optional<WallTime> expires;
};

/// Whether `grants` still let in what goes on by `admission`.
bool still_hold(const Grants& grants, const Admission& admission, WallTime now);

/// How a request was judged.
struct Judgement {
  unsigned refused = 0;         ///< the HTTP status; 0: it may pass
  std::string reason;           ///< of a refusal, for whoever asked
  std::string key;              ///< whose grant was shown, even where it was not enough
  std::optional<Admission> by;  ///< none: nobody had to show anything

  bool passes() const { return refused == 0; }
};

/// Of a request for the daemon of a box with a token. It is refused in the words of a daemon that knows one token, with
/// 401, so that clients of one see no difference; but with 403 where a right token is not good for
/// what is asked.
Judgement judge_daemon_request(const http::RequestHead& head, const Grants& grants, WallTime now);

/// Whether a request for the daemon shows a token that counts, be it good for this or not needed.
bool shows_grant(const http::RequestHead& head, const Grants& grants, WallTime now);

struct Ingress;
/// Of a request for another port: where `traffic_token` is set it shows that, or, if there is a list
/// of grants, one of those in its stead.
Judgement judge_port_request(const http::RequestHead& head, const Ingress& ingress, WallTime now);

struct Machine;
/// Of a request for a port of a box.
Judgement judge(const http::RequestHead& head, uint16_t port, const Machine& machine, WallTime now);

/// What a request for a port must show where that asks for it.
inline constexpr std::string_view kTrafficHeader = "e2b-traffic-access-token";

/// Makes of an admitted request what the daemon, which knows `token` alone, lets in.
void show_own_token(http::RequestHead& head, const std::string& token);

/// For a service of the box that asks the daemon in its caller's name, as a code interpreter does:
/// where the request shows a grant that is good for commands, the daemon's own token takes its place;
/// any other grant's is taken out, as nobody in the box has a use for it outside. What it then goes
/// on by, if that is a grant.
std::optional<Admission> lend_own_token(http::RequestHead& head, const Machine& machine,
                                        WallTime now);

/// Whether it asks for a file by a signature in its URL.
bool is_signed(const http::RequestHead& head);

/// The box and token that a signed request can be for; asked of each token that there is.
class SignedRequest {
 public:
  /// Nothing for what none can have signed.
  static std::optional<SignedRequest> of(const http::RequestHead& head);
  bool fits(std::string_view token) const;
  policy::Action action() const { return action_; }
  bool expired(WallTime now) const;

 private:
  SignedRequest() = default;
  std::string signature_;
  policy::Action action_ = policy::Action::files_read;
  std::optional<int64_t> expires_;
  std::optional<wire::FileSigner> signer_;
};

}  // namespace hako::gate
