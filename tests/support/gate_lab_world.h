// The world outside boxes: a namespace with servers, and one between it and the boxes for the gate.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "http/server.h"
#include "network/namespace.h"
#include "tls/server.h"

namespace hako::test {

/// All addresses are there in the world's namespace only, so that nothing is asked of real ones.
class World {
 public:
  static constexpr char kWeb[] = "93.184.216.34";    ///< every server
  static constexpr char kOther[] = "93.184.216.35";  ///< every server
  static constexpr char kPrivate[] = "10.1.2.3";     ///< every server
  static constexpr char kMetadata[] = "169.254.169.254";
  static constexpr char kSilent[] = "93.184.216.99";  ///< packets to it are lost
  /// The gate's own: one of its link, a public one, and one that is the second of its network.
  static constexpr char kGateLink[] = "10.99.0.1";
  static constexpr char kGatePublic[] = "93.184.200.1";
  static constexpr char kGateFirst[] = "93.184.202.1";
  static constexpr char kGateSecond[] = "93.184.202.2";
  static constexpr char kGateFirst6[] = "2a00:99::1";
  static constexpr char kGateSecond6[] = "2a00:99::2";
  static constexpr char kResolver[] = "10.99.0.2";

  static constexpr uint16_t kHttp = 80, kHttps = 443;
  static constexpr uint16_t kPlainHttp = 8080;
  static constexpr uint16_t kPlainTls = 8443;  ///< TLS where the gate does not expect it
  static constexpr uint16_t kEcho = 7000;      ///< says what it is told
  static constexpr uint16_t kGreeting = 7001;  ///< says "hello\n" first, then as kEcho
  static constexpr uint16_t kDigest = 7002;    ///< reads to the end, then says how much and what
  static constexpr uint16_t kSource = 7003;    ///< sends as many bytes as a first line asks for
  /// Says "hello", and when it is told something, an urgent byte and " world"; ends a while later.
  static constexpr uint16_t kUrgent = 7004;

  /// `directory`: for its certificate. Throws std::runtime_error.
  explicit World(const std::string& directory);
  World(const World&) = delete;

  /// Serves until cancelled.
  Task<void> serve();
  /// For TLS from now on, in the place of one that nobody has signed. Both are files.
  void use_certificate(const std::string& certificate, const std::string& key);
  /// Answers HTTP and HTTPS in the place of what is answered otherwise.
  http::Handler answers;

  /// What the DNS server answers; names that are not there do not exist.
  std::map<std::string, std::vector<std::string>> names;
  int ttl = 1;
  std::vector<std::string> questions;  ///< every name that was asked for
  std::vector<std::string> requests;   ///< every HTTP request: "<Host> <target>"
  int connections = 0;                 ///< accepted by any server but DNS
  int open = 0;                        ///< of those of kEcho .. kUrgent

  const Fd& gate_netns() const { return gate_netns_; }

  template <class Work>
  auto inside(Work work) const {
    return network::in_namespace(netns_.get(), std::move(work));
  }

 private:
  using Talk = Task<void> (World::*)(http::Stream stream);

  void listen_everywhere(TaskGroup& servers);
  Task<void> serve_raw(Fd listener, Talk talk);
  Task<void> counted(Talk talk, http::Stream stream);
  Task<void> echo(http::Stream stream);
  Task<void> greeting(http::Stream stream);
  Task<void> digest(http::Stream stream);
  Task<void> source(http::Stream stream);
  Task<void> urgent(http::Stream stream);
  Task<void> web(http::Exchange& exchange);
  Task<void> serve_dns();
  std::string answer_to(std::string_view question);

  Fd netns_, gate_netns_;
  tls::Server tls_;
};

/// FNV-1a.
uint64_t digest_of(std::string_view text, uint64_t before = 14695981039346656037ull);
/// The bytes of kSource, from `offset` on.
std::string pattern_at(uint64_t offset, size_t size);

}  // namespace hako::test
