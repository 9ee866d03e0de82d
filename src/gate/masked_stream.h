// A stream out of which secrets are masked.
#pragma once

#include "gate/secret_swap.h"
#include "http/stream.h"

namespace hako::gate {

/// From now on no value of `host`, which is one of `secrets`, is received from `stream`; nor is one in
/// `pending`, which was received before.
void mask_stream(http::Stream& stream, std::string& pending, BoxSecretsRef secrets,
                 const HostSecrets& host);

}  // namespace hako::gate
