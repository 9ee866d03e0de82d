// The certificates that the configuration names.
#include "base/fd.h"
#include "config/listening.h"
#include "doctor/sources.h"
#include "tls/certificate.h"

namespace hako::doctor {
namespace {

constexpr size_t kLargestPem = 256 << 10;
/// An authority that renews by itself has done so by then.
constexpr auto kExpiresSoon = std::chrono::hours(24 * 14);

struct Server {
  std::string id, title, section;
  const std::string& certificate;
  const std::string& key;
  policy::Listening listening;
  Dates dates;
};

std::string day_of(WallTime time) {
  return to_rfc3339(time).substr(0, 10);
}

Check check_without(const Server& server) {
  // Whether boxes are emulated is told by another check.
  policy::Listening listening = server.listening;
  listening.allow_emulated = true;
  auto decision = policy::may_listen(listening);
  if (!decision.allowed)
    return failed(server.id, server.title, decision.reason, decision.remedy);
  if (policy::is_loopback(listening.address))
    return passed(server.id, server.title, "none: " + decision.reason);
  return warned(server.id, server.title, "none, and other machines are served all the same",
                "set [" + server.section + "] certificate and key, unless something else encrypts");
}

Check check_certificate(const Server& server) {
  if (server.certificate.empty()) return check_without(server);
  std::string paths = "[" + server.section + "] certificate and key";
  auto certificate = read_file(server.certificate, kLargestPem);
  auto key = read_file(server.key, kLargestPem);
  for (const auto* file : {&certificate, &key}) {
    if (*file) continue;
    if (file->error().code() == ErrorCode::permission_denied)
      return skipped(server.id, server.title, file->error().message());
    return failed(server.id, server.title, file->error().message(), "correct " + paths);
  }
  auto facts = tls::examine_certificate(certificate.value(), key.value());
  if (!facts)
    return failed(server.id, server.title, server.certificate + ": " + facts.error().message(),
                  "put a PEM certificate with its chain and the key that belongs to it where " +
                      paths + " say");
  std::string names = "for " + tls::list_names(facts.value().names);
  if (server.dates == Dates::ignored) return passed(server.id, server.title, names);
  WallTime now = WallClock::now();
  std::string ends = day_of(facts.value().ends);
  if (facts.value().ends <= now)
    return failed(server.id, server.title, names + "; it has expired on " + ends,
                  "renew it: " + server.certificate);
  if (facts.value().begins > now)
    return failed(server.id, server.title,
                  names + "; it is good only from " + day_of(facts.value().begins) + " on",
                  "set the clock, or wait");
  if (facts.value().ends <= now + kExpiresSoon)
    return warned(server.id, server.title, names + "; it expires on " + ends,
                  "renew it: " + server.certificate);
  if (facts.value().names.empty())
    return warned(server.id, server.title, "it names no host, so that clients refuse it",
                  "get one with the server's names as alternative names");
  return passed(server.id, server.title, names + ", until " + ends);
}

}  // namespace

Check check_api_certificate(const config::Config& config, Dates dates) {
  return check_certificate({"api_certificate", "Certificate of the API", "api",
                            config.api_certificate, config.api_certificate_key,
                            config::api_listening(config), dates});
}

Check check_gate_certificate(const config::Config& config, Dates dates) {
  return check_certificate({"gate_certificate", "Certificate of the gate", "gate",
                            config.gate_certificate, config.gate_key,
                            config::gate_listening(config), dates});
}

}  // namespace hako::doctor
