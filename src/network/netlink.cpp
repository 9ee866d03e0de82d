#include "network/netlink.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>

namespace hako::network {
namespace {

/// The kernel answers before sendmsg(2) returns; this only bounds a surprise.
constexpr timeval kAnswerLimit{5, 0};
constexpr size_t kAttributeHeader = sizeof(nlattr);

void pad(std::string& bytes) {
  bytes.resize(NLMSG_ALIGN(bytes.size()));
}

}  // namespace

NetlinkMessage::NetlinkMessage(uint16_t type, uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  append(&header, sizeof header);
}

void NetlinkMessage::append(const void* data, size_t size) {
  bytes_.append(static_cast<const char*>(data), size);
  pad(bytes_);
}

NetlinkMessage& NetlinkMessage::attribute(uint16_t type, const void* data, size_t size) {
  nlattr header{static_cast<uint16_t>(kAttributeHeader + size), type};
  append(&header, sizeof header);
  append(data, size);
  return *this;
}

const std::string& NetlinkMessage::bytes() {
  nlmsghdr header;
  std::memcpy(&header, bytes_.data(), sizeof header);
  header.nlmsg_len = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data(), &header, sizeof header);
  return bytes_;
}

Result<Netlink> Netlink::open(int protocol) {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!socket) return Error::from_errno(errno, "netlink socket");
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerLimit, sizeof kAnswerLimit) < 0)
    return Error::from_errno(errno, "netlink receive limit");
  return Netlink(std::move(socket));
}

Result<void> Netlink::send(std::string_view bytes, std::string_view what) {
  ssize_t n;
  do {
    n = ::send(socket_.get(), bytes.data(), bytes.size(), 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Error::from_errno(errno, what);
  return ok();
}

Result<void> Netlink::request(NetlinkMessage message, std::string_view what) {
  HAKO_TRYV(send(message.bytes(), what));
  alignas(nlmsghdr) char buffer[8192];
  for (;;) {
    ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, what);
    auto header = reinterpret_cast<nlmsghdr*>(buffer);
    auto left = static_cast<size_t>(n);
    for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type != NLMSG_ERROR) continue;
      int error = static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
      if (error == 0) return ok();
      return Error::from_errno(-error, what);
    }
  }
}

Result<void> Netlink::dump(NetlinkMessage message, std::string_view what,
                           const std::function<void(std::string_view)>& each) {
  HAKO_TRYV(send(message.bytes(), what));
  alignas(nlmsghdr) static thread_local char buffer[32768];
  for (;;) {
    ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, what);
    auto header = reinterpret_cast<nlmsghdr*>(buffer);
    auto left = static_cast<size_t>(n);
    for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return ok();
      if (header->nlmsg_type == NLMSG_ERROR) {
        int error = static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
        return Error::from_errno(-error, what);
      }
      each(std::string_view(static_cast<const char*>(NLMSG_DATA(header)),
                            header->nlmsg_len - NLMSG_HDRLEN));
    }
  }
}

void for_each_attribute(std::string_view attributes,
                        const std::function<void(uint16_t, std::string_view)>& each) {
  while (attributes.size() >= kAttributeHeader) {
    nlattr header;
    std::memcpy(&header, attributes.data(), sizeof header);
    if (header.nla_len < kAttributeHeader || header.nla_len > attributes.size()) return;
    each(header.nla_type & NLA_TYPE_MASK,
         attributes.substr(kAttributeHeader, header.nla_len - kAttributeHeader));
    attributes.remove_prefix(std::min(attributes.size(), size_t{NLA_ALIGN(header.nla_len)}));
  }
}

uint32_t as_u32(std::string_view content) {
  uint32_t value = 0;
  if (content.size() == sizeof value) std::memcpy(&value, content.data(), sizeof value);
  return value;
}

}  // namespace hako::network
