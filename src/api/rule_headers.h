// E2B's rules that put headers into what a box sends, and the secrets that these name. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/sandbox_options.h"
#include "base/result.h"

namespace hako::api {

/// Of one host: what each request to it gets.
struct RuleHeaders {
  std::string host;  ///< an exact name, lower case
  std::vector<std::pair<std::string, std::string>> headers;  ///< as they were given
};

/// Those rules that set a header.
std::vector<RuleHeaders> rule_headers(const SandboxOptions& options);

/// The secrets that a header's value names: "Bearer ${e2b.secrets.stripe}". unsupported for any other
/// "${e2b....}", which must not go out as it stands.
Result<std::vector<std::string>> secrets_in(std::string_view value);

/// The value with each of them in its place. `value_of`: from a name to a value, a Result.
template <class ValueOf>
Result<std::string> fill_in(std::string_view text, ValueOf value_of);

inline constexpr std::string_view kSecretReference = "${e2b.secrets.";

template <class ValueOf>
Result<std::string> fill_in(std::string_view text, ValueOf value_of) {
  std::string filled;
  for (;;) {
    size_t at = text.find(kSecretReference);
    filled += text.substr(0, at);
    if (at == text.npos) return filled;
    text.remove_prefix(at + kSecretReference.size());
    size_t end = text.find('}');
    if (end == text.npos) return Error(ErrorCode::invalid_argument, "a reference has no end");
    HAKO_TRY(std::string value, value_of(std::string(text.substr(0, end))));
    filled += value;
    text.remove_prefix(end + 1);
  }
}

}  // namespace hako::api
