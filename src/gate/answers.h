// What the gate itself says to clients. Pure.
#pragma once

#include "gate/machine_table.h"
#include "http/message.h"
#include "wire/routing.h"

namespace hako::gate {

/// {"sandboxId","message","code"} for programs, a small page for a browser that navigates.
http::Response problem(const http::RequestHead& head, const wire::BoxPort& target, unsigned status,
                       std::string_view message, bool with_port = false);
/// 502, in the words that clients compare.
http::Response no_sandbox(const http::RequestHead& head, const wire::BoxPort& target);
http::Response no_port(const http::RequestHead& head, const wire::BoxPort& target);

/// Whether a browser asks what it may send to the daemon (CORS); and the answer: all of it, as what
/// protects the daemon is a token that no page has by itself.
bool is_preflight(const http::RequestHead& head);
http::Response preflight_answer(const http::RequestHead& head);
/// Lets pages of any origin read a response of the daemon, unless it says who may itself.
void allow_origins(http::Fields& fields);

/// What is told of a refusal, in the form that clients of the daemon's kind of call, or of another
/// port, read.
http::Response refusal(const http::RequestHead& head, const wire::BoxPort& target,
                       const Judgement& judgement);
/// Takes keys and tokens of the API out of `head`, for whatever port it is: nobody in a box has a
/// use for them inside. X-API-Key with something else is a service's own.
void take_out_keys(http::RequestHead& head);
/// Makes `head` what a service of the box is to see.
void prepare_for_service(http::RequestHead& head, uint16_t port, const Ingress& ingress);

}  // namespace hako::gate
