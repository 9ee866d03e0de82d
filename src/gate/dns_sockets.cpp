#include "gate/dns_sockets.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using boost::system::error_code;

/// Questions longer than this are no questions.
constexpr size_t kLongestMessage = 4096;
constexpr size_t kShortestMessage = 12;
constexpr int kMessagesPerTurn = 32;
constexpr Duration kMessageTime = 10s;
constexpr Duration kErrorPause = 10ms;

/// One datagram: its bytes, who sent it and which address it was sent to.
struct Datagram {
  std::array<uint8_t, kLongestMessage> bytes;
  size_t size = 0;
  sockaddr_in from{};
  in_addr to{};
};

/// 0, or an errno. A datagram that does not say where it was sent to has size 0.
int receive(int socket, Datagram& datagram) {
  iovec space{datagram.bytes.data(), datagram.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))];
  msghdr message{};
  message.msg_name = &datagram.from;
  message.msg_namelen = sizeof datagram.from;
  message.msg_iov = &space;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = ::recvmsg(socket, &message, MSG_DONTWAIT);
  if (n < 0) return errno;
  datagram.size = 0;
  if (message.msg_flags & MSG_TRUNC) return 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != IPPROTO_IP || header->cmsg_type != IP_PKTINFO) continue;
    in_pktinfo info;
    std::memcpy(&info, CMSG_DATA(header), sizeof info);
    datagram.to = info.ipi_addr;
    datagram.size = static_cast<size_t>(n);
  }
  return 0;
}

/// An answer that finds no room is lost, as datagrams may be.
void reply(int socket, const Datagram& to, std::span<const uint8_t> bytes) {
  iovec data{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))] = {};
  sockaddr_in address = to.from;
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = sizeof address;
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = IPPROTO_IP;
  header->cmsg_type = IP_PKTINFO;
  header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
  in_pktinfo info{};
  info.ipi_spec_dst = to.to;
  std::memcpy(CMSG_DATA(header), &info, sizeof info);
  (void)::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

Task<Result<void>> read_exactly(http::Stream& stream, asio::mutable_buffer into) {
  error_code error;
  co_await asio::async_read(stream, into, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error(ErrorCode::unavailable, error.message());
  co_return ok();
}

Task<Result<void>> answer_one(http::Stream& stream, const AnswerDns& answer) {
  std::array<uint8_t, 2> length;
  HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(length)));
  size_t size = static_cast<size_t>(length[0]) << 8 | length[1];
  if (size < kShortestMessage || size > kLongestMessage)
    co_return Error(ErrorCode::corrupted, "not a DNS message");
  std::vector<uint8_t> message(size);
  HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(message)));
  auto said = answer(message);
  if (said.empty() || said.size() > 0xffff)
    co_return Error(ErrorCode::corrupted, "no answer to this message");
  length = {static_cast<uint8_t>(said.size() >> 8), static_cast<uint8_t>(said.size())};
  said.insert(said.begin(), length.begin(), length.end());
  error_code error;
  co_await asio::async_write(stream, asio::buffer(said),
                             asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error(ErrorCode::unavailable, error.message());
  co_return ok();
}

}  // namespace

Task<void> serve_dns_datagrams(SharedSocket socket, AnswerDns answer) {
  auto datagram = std::make_unique<Datagram>();
  int taken = 0;
  while (socket->is_open()) {
    int os_error = receive(socket->native_handle(), *datagram);
    if (os_error == EAGAIN) {
      taken = 0;
      co_await socket->async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
      continue;
    }
    if (os_error != 0) {
      // That of an answer that did not arrive, or a socket of no use.
      co_await sleep_for(kErrorPause);
      continue;
    }
    if (datagram->size > 0) {
      auto said = answer(std::span(datagram->bytes.data(), datagram->size));
      if (!said.empty()) reply(socket->native_handle(), *datagram, said);
    }
    if (++taken < kMessagesPerTurn) continue;
    taken = 0;
    co_await asio::post(socket->get_executor(), asio::use_awaitable);
  }
}

Task<void> serve_dns_stream(http::Stream& stream, AnswerDns answer) {
  for (;;) {
    auto one = answer_one(stream, answer);
    auto answered = co_await with_deadline(kMessageTime, std::move(one));
    if (!answered) co_return;
  }
}

}  // namespace hako::gate
