#include "api/certificate.h"

#include "api/field_reader.h"
#include "base/log.h"
#include "tls/certificate.h"

namespace hako::api {
using namespace std::chrono_literals;

namespace {

constexpr auto kAnswerTime = 5s;
constexpr size_t kLargestPem = 256 << 10;
/// An authority that renews by itself has done so by then.
constexpr auto kExpiresSoon = std::chrono::hours(24 * 14);

void log_use(const tls::CertificateFacts& facts) {
  boost::json::object fields;
  fields["names"] = tls::list_names(facts.names);
  fields["ends"] = to_rfc3339(facts.ends);
  if (facts.ends > WallClock::now() + kExpiresSoon)
    log_info("certificate in use", std::move(fields));
  else
    log_warn("certificate in use, but it ends soon or has ended", std::move(fields));
}

}  // namespace

Task<void> Certificate::fetch() {
  if (!configured_) co_return;
  boost::json::object nothing;
  auto answer = co_await node_.call("api.certificate", std::move(nothing), kAnswerTime);
  if (!answer) {
    // A node that is away says nothing about the files.
    bool away = answer.error().code() == ErrorCode::unavailable ||
                answer.error().code() == ErrorCode::timed_out;
    if (!away) tell_problem(answer.error().message());
    co_return;
  }
  FieldReader reader(answer.value(), "api.certificate: ");
  std::string certificate = reader.text("certificate", kLargestPem).value_or("");
  std::string key = reader.text("key", kLargestPem).value_or("");
  if (auto outcome = reader.outcome(); !outcome) co_return tell_problem(outcome.error().message());
  std::pair<std::string, std::string> both(std::move(certificate), std::move(key));
  if (both == last_) co_return;
  last_ = std::move(both);
  use(last_.first, last_.second);
}

void Certificate::use(const std::string& certificate, const std::string& key) {
  auto used = server_.use(certificate, key);
  auto facts = used ? tls::examine_certificate(certificate, key)
                    : Result<tls::CertificateFacts>(used.error());
  if (!facts) return tell_problem(facts.error().message());
  problem_.clear();
  log_use(facts.value());
  came_.notify_all();
}

/// Between two writes certificate and key do not fit each other; the next look finds both.
void Certificate::tell_problem(std::string problem) {
  if (problem == problem_) return;
  problem_ = std::move(problem);
  boost::json::object fields;
  fields["error"] = problem_;
  fields["meanwhile"] = server_.ready() ? "the former one stays in use"
                                        : "other machines are not served";
  log_error("certificate not used", std::move(fields));
}

Task<void> Certificate::watch(Duration every) {
  while (configured_) {
    co_await sleep_for(every);
    co_await fetch();
  }
}

Task<void> Certificate::wait_until_usable() {
  while (configured_ && !server_.ready()) co_await came_.wait();
}

}  // namespace hako::api
