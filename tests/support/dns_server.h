// A DNS server on a loopback port, UDP and TCP, that says what a test wants it to say.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "wire/dns.h"

namespace hako::test {

using DnsMessage = std::vector<uint8_t>;

struct DnsRecord {
  std::string name;
  uint16_t type = 0;
  uint32_t ttl = 60;
  std::vector<uint8_t> data;
};

DnsRecord a_record(std::string name, const std::string& address, uint32_t ttl = 60);
DnsRecord aaaa_record(std::string name, const std::string& address, uint32_t ttl = 60);
DnsRecord cname_record(std::string name, const std::string& target, uint32_t ttl = 60);

/// An answer to `query`, its id and question included.
DnsMessage dns_reply(const wire::dns::Query& query, const std::vector<DnsRecord>& records,
                     int rcode = 0);

/// Where it came from.
struct DnsAsker {
  bool tcp = false;
  uint16_t port = 0;
};

/// Answers on a thread of its own until it is destroyed.
class TestDnsServer {
 public:
  /// All that is sent in answer to a question, in this order; over TCP only the first. Runs on the
  /// server's thread.
  using Answer = std::function<std::vector<DnsMessage>(const wire::dns::Query&, const DnsAsker&)>;

  explicit TestDnsServer(Answer answer);
  ~TestDnsServer();

  uint16_t port() const { return port_; }
  /// Questions so far.
  int asked() const { return asked_; }

 private:
  void run();
  void serve_udp();
  void serve_tcp();

  Answer answer_;
  Fd udp_, tcp_, stop_;
  uint16_t port_ = 0;
  std::atomic<int> asked_ = 0;
  std::thread thread_;
};

}  // namespace hako::test
