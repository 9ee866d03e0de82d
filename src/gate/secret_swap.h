// Putting secrets into requests, and keeping them out of answers. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gate/box_secrets.h"
#include "http/message.h"

namespace hako::gate {

struct SwapOutcome {
  struct Refused {
    std::string secret;  ///< whose placeholder it is; empty: it is about none
    std::string reason;
  };
  std::optional<Refused> refused;  ///< then the head is not to be used
  std::vector<std::string> used;   ///< names of the secrets that were put in
  std::vector<std::string> headers;  ///< the headers that they were put into
};

/// Makes of a request to `host` what its server is to see: each placeholder becomes its value where it
/// stands as it should, headers that all requests get are set, and the server is asked for an answer
/// that can be read. A placeholder anywhere else refuses the request.
SwapOutcome put_secrets(http::RequestHead& head, const HostSecrets& host,
                        const PlaceholderSet& placeholders);

/// The secret whose placeholder is anywhere in a request's head, or null.
const std::string* placeholder_in(const http::RequestHead& head,
                                  const PlaceholderSet& placeholders);

/// Of a request as put_secrets() has left it, to a server that is called with secrets kept here only: why
/// it may not go; empty if it may. A key of the box's own would open an account that is somebody else's, and
/// what is said there would be theirs to read.
std::string other_key(const http::RequestHead& head, const SwapOutcome& swapped,
                      const HostSecrets& host);

/// Masks values in the fields of an answer; how many there were.
size_t mask_fields(http::Fields& fields, const HostSecrets& host);

/// Masks values in the body of an answer, or in any stream. What may be the beginning of one waits
/// for what follows it. `host` outlives it.
class AnswerMask {
 public:
  explicit AnswerMask(const HostSecrets& host) : host_(host) {}

  /// What is to be passed on of the next piece and what had waited; good until the next call. An
  /// empty piece is the end.
  std::string_view pass(std::string_view piece);
  size_t masked() const { return masked_; }

 private:
  const HostSecrets& host_;
  PatternSet::Position position_ = PatternSet::kStart;
  std::string waiting_, out_;
  size_t masked_ = 0;
};

}  // namespace hako::gate
