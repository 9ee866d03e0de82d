#include "support/dns_server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>

#include <optional>

namespace hako::test {
namespace {

namespace ip = boost::asio::ip;

void put_u16(std::vector<uint8_t>& out, unsigned value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}

std::vector<uint8_t> wire_name(const std::string& name) {
  std::vector<uint8_t> out;
  for (size_t at = 0; at < name.size();) {
    size_t end = std::min(name.find('.', at), name.size());
    out.push_back(static_cast<uint8_t>(end - at));
    out.insert(out.end(), name.begin() + static_cast<ptrdiff_t>(at),
               name.begin() + static_cast<ptrdiff_t>(end));
    at = end + 1;
  }
  out.push_back(0);
  return out;
}

/// Nothing if the port is taken. Sets `port` where it was 0.
std::optional<Fd> bind_loopback(int type, uint16_t& port) {
  Fd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), generic, sizeof address) != 0) return std::nullopt;
  socklen_t length = sizeof address;
  ::getsockname(fd.get(), generic, &length);
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

DnsRecord a_record(std::string name, const std::string& address, uint32_t ttl) {
  auto bytes = ip::make_address_v4(address).to_bytes();
  return {std::move(name), 1, ttl, {bytes.begin(), bytes.end()}};
}

DnsRecord aaaa_record(std::string name, const std::string& address, uint32_t ttl) {
  auto bytes = ip::make_address_v6(address).to_bytes();
  return {std::move(name), 28, ttl, {bytes.begin(), bytes.end()}};
}

DnsRecord cname_record(std::string name, const std::string& target, uint32_t ttl) {
  return {std::move(name), 5, ttl, wire_name(target)};
}

DnsMessage dns_reply(const wire::dns::Query& query, const std::vector<DnsRecord>& records,
                     int rcode) {
  DnsMessage out;
  put_u16(out, query.id);
  put_u16(out, 0x8180u | static_cast<unsigned>(rcode));
  put_u16(out, 1);
  put_u16(out, static_cast<unsigned>(records.size()));
  put_u16(out, 0);
  put_u16(out, 0);
  out.insert(out.end(), query.question.begin(), query.question.end());
  for (const DnsRecord& record : records) {
    auto name = wire_name(record.name);
    out.insert(out.end(), name.begin(), name.end());
    put_u16(out, record.type);
    put_u16(out, 1);
    put_u16(out, record.ttl >> 16);
    put_u16(out, record.ttl & 0xffff);
    put_u16(out, static_cast<unsigned>(record.data.size()));
    out.insert(out.end(), record.data.begin(), record.data.end());
  }
  return out;
}

TestDnsServer::TestDnsServer(Answer answer)
    : answer_(std::move(answer)), stop_(::eventfd(0, EFD_CLOEXEC)) {
  std::optional<Fd> udp, tcp;
  // The same port for both, which somebody may have for one of them.
  for (int i = 0; i < 100 && !(udp && tcp); ++i) {
    port_ = 0;
    udp = bind_loopback(SOCK_DGRAM, port_);
    tcp = bind_loopback(SOCK_STREAM, port_);
  }
  udp_ = std::move(udp.value());
  tcp_ = std::move(tcp.value());
  EXPECT_EQ(::listen(tcp_.get(), 16), 0);
  thread_ = std::thread([this] { run(); });
}

TestDnsServer::~TestDnsServer() {
  uint64_t one = 1;
  EXPECT_EQ(::write(stop_.get(), &one, sizeof one), ssize_t{sizeof one});
  thread_.join();
}

void TestDnsServer::run() {
  for (;;) {
    pollfd waiting[] = {{udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(waiting, 3, -1) < 0) continue;
    if (waiting[2].revents) return;
    if (waiting[0].revents) serve_udp();
    if (waiting[1].revents) serve_tcp();
  }
}

void TestDnsServer::serve_udp() {
  DnsMessage message(4096);
  sockaddr_in from{};
  socklen_t from_length = sizeof from;
  auto* address = reinterpret_cast<sockaddr*>(&from);
  ssize_t length = ::recvfrom(udp_.get(), message.data(), message.size(), 0, address, &from_length);
  if (length < 0) return;
  message.resize(static_cast<size_t>(length));
  auto query = wire::dns::parse_query(message);
  if (!query) return;
  ++asked_;
  for (const DnsMessage& reply : answer_(query.value(), {false, ntohs(from.sin_port)}))
    ::sendto(udp_.get(), reply.data(), reply.size(), 0, address, from_length);
}

void TestDnsServer::serve_tcp() {
  Fd client(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  timeval limit{2, 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  uint8_t head[2];
  if (::recv(client.get(), head, sizeof head, MSG_WAITALL) != 2) return;
  DnsMessage message(static_cast<size_t>(head[0] << 8 | head[1]));
  if (::recv(client.get(), message.data(), message.size(), MSG_WAITALL) !=
      static_cast<ssize_t>(message.size()))
    return;
  auto query = wire::dns::parse_query(message);
  if (!query) return;
  ++asked_;
  auto replies = answer_(query.value(), {true, 0});
  if (replies.empty()) return;
  DnsMessage framed;
  put_u16(framed, static_cast<unsigned>(replies.front().size()));
  framed.insert(framed.end(), replies.front().begin(), replies.front().end());
  ::send(client.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
  // Until it has read everything and closes.
  (void)!::recv(client.get(), head, sizeof head, 0);
}

}  // namespace hako::test
