// Policies and quotas as requests have them: an error of one line that does not carry the request
// back, or what is the same when it is written and read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "policy/narrowing_json.h"
#include "policy/quota.h"

namespace {

using namespace hako::policy;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_error(const hako::Error& error) {
  require(!error.message().empty() && error.message().size() < 2048);
  require(error.message().find('\n') == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes looked at as text.
  std::string_view text(reinterpret_cast<const char*>(data), size);
  boost::json::error_code bad;
  auto value = boost::json::parse(text, bad);
  if (bad || !value.is_object()) return 0;
  if (auto narrowing = narrowing_from(value.get_object())) {
    auto again = narrowing_from(to_json(narrowing.value()));
    require(again && again.value() == narrowing.value());
  } else {
    check_error(narrowing.error());
  }
  if (auto quota = quota_from(value.get_object())) {
    auto again = quota_from(to_json(quota.value()));
    require(again && again.value() == quota.value());
    // What fits into a quota leaves no more than the quota.
    Amounts one{1, 1, 1, 1};
    Decision decision = within(quota.value(), {}, one);
    require(decision.allowed == decision.remedy.empty());
  } else {
    check_error(quota.error());
  }
  return 0;
}
