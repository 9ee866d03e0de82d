#include "gate/own_addresses.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "policy/target_match.h"

namespace hako::gate {
namespace {

/// RTM_GETROUTE for one destination.
struct Question {
  nlmsghdr header;
  rtmsg route;
  rtattr destination;
  uint8_t address[16];
};
static_assert(offsetof(Question, destination) == NLMSG_ALIGN(NLMSG_LENGTH(sizeof(rtmsg))));

template <class Bytes>
Question question_for(int family, const Bytes& bytes, uint32_t number) {
  Question question{};
  question.header.nlmsg_type = RTM_GETROUTE;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.header.nlmsg_seq = number;
  question.header.nlmsg_len = static_cast<uint32_t>(offsetof(Question, address) + bytes.size());
  question.route.rtm_family = static_cast<uint8_t>(family);
  question.route.rtm_dst_len = static_cast<uint8_t>(bytes.size() * 8);
  question.destination.rta_type = RTA_DST;
  question.destination.rta_len = static_cast<uint16_t>(RTA_LENGTH(bytes.size()));
  std::memcpy(question.address, bytes.data(), bytes.size());
  return question;
}

/// What the answer's first message says.
bool says_here(const nlmsghdr& header) {
  if (header.nlmsg_type == NLMSG_ERROR) {
    int error = -static_cast<const nlmsgerr*>(NLMSG_DATA(&header))->error;
    // No way there: then connecting fails as well, and says why.
    return error != ENETUNREACH && error != EHOSTUNREACH;
  }
  if (header.nlmsg_type != RTM_NEWROUTE) return true;
  auto type = static_cast<const rtmsg*>(NLMSG_DATA(&header))->rtm_type;
  return type == RTN_LOCAL || type == RTN_ANYCAST;
}

}  // namespace

Result<OwnAddresses> OwnAddresses::open() {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!socket) return Error::from_errno(errno, "make a netlink socket");
  return OwnAddresses(std::move(socket));
}

bool OwnAddresses::have(const asio::ip::address& address) {
  auto plain = policy::unmapped(address);
  if (plain.is_loopback() || plain.is_unspecified()) return true;
  auto within = policy::embedded_v4(plain);
  if (within && have(*within)) return true;
  return !ask(plain) || answer_is_here();
}

bool OwnAddresses::ask(const asio::ip::address& address) {
  ++question_;
  auto question = address.is_v4()
                      ? question_for(AF_INET, address.to_v4().to_bytes(), question_)
                      : question_for(AF_INET6, address.to_v6().to_bytes(), question_);
  size_t size = question.header.nlmsg_len;
  return ::send(socket_.get(), &question, size, 0) == static_cast<ssize_t>(size);
}

bool OwnAddresses::answer_is_here() {
  // The kernel has answered before send(2) returns. What is left of an earlier question is skipped.
  constexpr int kMostSkipped = 16;
  alignas(nlmsghdr) char buffer[4096];
  for (int i = 0; i < kMostSkipped; ++i) {
    ssize_t count = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (count < 0) return true;
    const auto& header = *reinterpret_cast<const nlmsghdr*>(buffer);
    if (!NLMSG_OK(&header, static_cast<size_t>(count))) return true;
    if (header.nlmsg_seq == question_) return says_here(header);
  }
  return true;
}

}  // namespace hako::gate
