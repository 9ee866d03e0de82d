// A stream whose bytes are counted, for connections that we read ourselves.
#pragma once

#include "gate/traffic.h"
#include "http/stream.h"

namespace hako::gate {

/// From now on what `stream`, the box's end, receives and sends goes through `meter`, which must
/// outlive it: it is counted, waits where the box's rate demands it, and fails when all bytes are
/// used up. `pending`, read from it before and counted already, is received first.
void meter_stream(http::Stream& stream, Meter& meter, std::string pending);

}  // namespace hako::gate
