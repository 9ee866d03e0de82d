#include "node/certificate.h"

#include "base/fd.h"
#include "base/log.h"

namespace hako::node {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(5);
constexpr size_t kLargestPem = 256 << 10;

}  // namespace

Result<CertificatePair> read_certificate(const std::string& certificate, const std::string& key) {
  CertificatePair pair;
  HAKO_TRY(pair.first, read_file(certificate, kLargestPem));
  HAKO_TRY(pair.second, read_file(key, kLargestPem));
  return pair;
}

Result<CertificatePair> Certificate::read() const {
  return read_certificate(config_.gate_certificate, config_.gate_key);
}

Task<void> Certificate::hand_over() {
  if (config_.gate_certificate.empty()) co_return;
  auto pair = read();
  Result<void> done = ok();
  if (pair) {
    done = co_await gate_.use_certificate(pair.value().first, pair.value().second);
    // Refused or not, it need not be said again until it changes.
    given_ = std::move(pair).value();
  } else {
    done = pair.error();
  }
  std::string problem = done ? "" : done.error().message();
  if (!problem.empty() && problem != problem_)
    log_error("certificate_not_used", {{"error", problem}});
  problem_ = std::move(problem);
}

Task<void> Certificate::watch() {
  if (config_.gate_certificate.empty()) co_return;
  for (;;) {
    co_await sleep_for(kLookEvery);
    if (!gate_.connected()) continue;
    auto pair = read();
    // Between two writes certificate and key do not fit each other; the next look finds both.
    if (!pair || pair.value() != given_) co_await hand_over();
  }
}

}  // namespace hako::node
