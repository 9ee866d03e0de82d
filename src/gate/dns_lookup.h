// Questions for DNS servers: c-ares on Asio.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "base/async/task.h"

namespace hako::gate {

struct DnsServer;

/// What has come of a question.
struct DnsReply {
  bool done = false;
  int status = 0;                ///< of c-ares
  std::vector<uint8_t> message;  ///< the server's, if there was one
};

/// Each question has sockets of its own and an id that nobody can guess, so that an answer is hard
/// to forge. c-ares sees to servers, tries, TCP where an answer was cut, and answers that belong to
/// nothing. Opens no files.
/// Thread: the executor's.
class DnsLookup {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `servers` are asked in this order, and must outlive it. `limit`: how long a question may take,
  /// with all servers and tries.
  DnsLookup(asio::any_io_executor executor, const std::vector<DnsServer>& servers,
            std::chrono::milliseconds limit);
  ~DnsLookup();
  DnsLookup(const DnsLookup&) = delete;
  DnsLookup& operator=(const DnsLookup&) = delete;

  /// Begins. The reply lives as long as this.
  const DnsReply& ask(const std::string& name, uint16_t type);
  /// Waits until `reply` is done, but no longer than `until`; all questions go on meanwhile.
  /// Cancel: safe.
  Task<void> wait(const DnsReply& reply, Time until = Time::max());

 private:
  struct Question;
  struct Watch;

  int begin(Question& question);
  void answered(Question& question, int status, const unsigned char* bytes, int length);
  void watch(Question& question, int socket, bool read, bool write);
  static void await_ready(const std::shared_ptr<Watch>& watch, bool read);
  Time next_timeout() const;

  asio::any_io_executor executor_;
  const std::vector<DnsServer>& servers_;
  std::chrono::milliseconds limit_;
  asio::steady_timer timer_;  ///< c-ares' next timeout; cancelled when a reply is there
  std::list<Question> questions_;
};

}  // namespace hako::gate
