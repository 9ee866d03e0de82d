// Whether what is said on a connection is meant for the name that allowed it. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace hako::gate {

inline constexpr char kSniRule[] = "egress.sni";
inline constexpr char kHostRule[] = "egress.host";

/// What a connection's first bytes mean for it.
struct Opening {
  enum class Kind {
    incomplete,  ///< more bytes are needed
    agreed,      ///< TLS, for whom it should be
    http,        ///< an HTTP/1 request: each of them is to be judged by request_refusal()
    other,       ///< neither: it names nobody
    refused,
  };
  Kind kind = Kind::incomplete;
  std::string rule;    ///< of refused: kSniRule, kHostRule
  std::string reason;  ///< of refused
  size_t size = 0;     ///< of agreed: what was judged, bytes; the rest may be another hello
};

/// Whom what is said on a connection may be for.
struct Expected {
  std::string name;  ///< this one only; empty: the connection is to an address
  uint16_t port = 0;
  /// Of a connection to an address: whether a name may be named on it. (Naming none may do.)
  std::function<bool(const std::string& said)> may_name;
  /// Whether a hello may hide whom it is for behind the name that it says.
  bool may_hide = false;
};

/// So many bytes decide; beyond them nothing is `incomplete`.
inline constexpr size_t kLongestOpening = 20 << 10;

/// On a port where nothing but TLS passes.
Opening judge_tls(std::string_view bytes, const Expected& expected);
/// On any other port.
Opening judge_opening(std::string_view bytes, const Expected& expected);
/// What a TLS client says when the server has asked it to begin again: from the first byte behind
/// the first hello. Never http or other.
Opening judge_second_hello(std::string_view bytes, const Expected& expected);

/// Why a request is refused; nothing if it may pass: if Host, and the authority of an absolute
/// target, are as expected, with the connection's port or none.
std::optional<std::string> request_refusal(const http::RequestHead& head,
                                           const Expected& expected);

}  // namespace hako::gate
