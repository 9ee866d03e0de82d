// Questions of a box to DNS, over UDP and TCP. What is answered is somebody else's affair.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/async/task.h"
#include "http/stream.h"

namespace hako::gate {

/// The answer to a message, or nothing where none is due. At once: it waits for nobody.
using AnswerDns = std::function<std::vector<uint8_t>(std::span<const uint8_t> message)>;

using SharedSocket = std::shared_ptr<asio::posix::stream_descriptor>;

/// Answers what comes to a transparent UDP socket with IP_PKTINFO, from the address that was asked.
/// Until the socket is closed, or cancelled.
Task<void> serve_dns_datagrams(SharedSocket socket, AnswerDns answer);

/// Answers messages, each with its length before it, until the client ends, sends rubbish, or takes
/// more than 10 s for one.
Task<void> serve_dns_stream(http::Stream& stream, AnswerDns answer);

}  // namespace hako::gate
