// Which box a request is for: pure decisions, shared by the gate and the api.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hako::wire {

/// The port of the daemon in every guest.
inline constexpr uint16_t kDaemonPort = 49983;

/// What of a request decides where it goes; header values as sent, empty when absent.
struct RoutingFacts {
  std::string_view path;          ///< up to '?'
  std::string_view host;          ///< Host, a port allowed
  std::string_view sandbox_id;    ///< E2b-Sandbox-Id
  std::string_view sandbox_port;  ///< E2b-Sandbox-Port
};

struct BoxPort {
  std::string box;
  uint16_t port = kDaemonPort;
  bool operator==(const BoxPort&) const = default;
};

struct Route {
  enum class Kind {
    box,        ///< for `target`
    unrouted,   ///< names no box
    malformed,  ///< names one in a way that cannot be right
  };
  Kind kind = Kind::unrouted;
  BoxPort target;
};

/// The box in a host name <port>-<id>[-anything].<domain>; ids are [a-z0-9]+.
std::optional<BoxPort> parse_box_host(std::string_view host);

/// A box's own host name decides. Otherwise (localhost, an address, sandbox.<domain>, any other
/// name) the headers do.
Route route_of(const RoutingFacts& facts);

/// Whether a request that came to the api's port belongs to the gate.
bool is_data_plane(const RoutingFacts& facts);

/// `target` of a request line in origin form: absolute forms lose scheme and authority. Nothing
/// for forms a server has no use for.
std::optional<std::string> origin_form(std::string_view target);

/// Whether the daemon's `path` is for the node alone, however it is spelled.
bool is_internal_path(std::string_view path);

}  // namespace hako::wire
