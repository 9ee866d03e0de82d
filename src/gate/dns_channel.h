// One lookup: c-ares on Asio.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/async/task.h"

struct ares_channeldata;

namespace hako::gate {

struct DnsServer;

/// What has come of a question.
struct DnsReply {
  int status = 0;                ///< of c-ares
  std::vector<uint8_t> message;  ///< the server's, if there was one
};

/// Asks questions, each of its own sockets and with ids that nobody can guess, so that an answer is
/// hard to forge. c-ares sees to servers, tries, TCP where an answer was cut, and answers that
/// belong to nothing. Opens no files.
/// Thread: the executor's.
class DnsChannel {
 public:
  /// `limit`: how long it may take until there are replies, with all servers and tries.
  /// internal: c-ares cannot begin.
  static Result<std::unique_ptr<DnsChannel>> open(asio::any_io_executor executor,
                                                  const std::vector<DnsServer>& servers,
                                                  std::chrono::milliseconds limit);
  ~DnsChannel();
  DnsChannel(const DnsChannel&) = delete;
  DnsChannel& operator=(const DnsChannel&) = delete;

  /// Begins. The reply is good once wait() has returned.
  const DnsReply& ask(const std::string& name, uint16_t type);
  /// Waits for all replies. Cancel: safe; then the channel must go.
  Task<void> wait();

 private:
  struct Question;
  struct Watch;

  explicit DnsChannel(asio::any_io_executor executor);

  Result<void> begin(const std::vector<DnsServer>& servers, std::chrono::milliseconds limit);
  void answered(Question& question, int status, const unsigned char* bytes, int length);
  void watch(int socket, bool read, bool write);
  static void await_ready(const std::shared_ptr<Watch>& watch, bool read);
  asio::steady_timer::duration until_timeout() const;

  asio::any_io_executor executor_;
  asio::steady_timer timer_;  ///< c-ares' next timeout; cancelled when a reply is there
  ares_channeldata* channel_ = nullptr;
  std::map<int, std::shared_ptr<Watch>> watches_;
  std::list<Question> questions_;
  int pending_ = 0;
};

}  // namespace hako::gate
