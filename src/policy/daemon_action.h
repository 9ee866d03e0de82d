// What a request for a box's daemon needs, which the gate and the api must say alike. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "policy/actions.h"

namespace hako::policy {

/// The action that a request to the daemon of a box takes; nothing where anybody may ask. `method`
/// as in the request line, `path` as sent, up to '?'. The daemon compares paths byte by byte, and so
/// does this: another spelling is unknown, and what is unknown needs sandbox.exec, which lets its
/// holder do everything else in the box anyway.
std::optional<Action> daemon_action(std::string_view method, std::string_view path);

}  // namespace hako::policy
