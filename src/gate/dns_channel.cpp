#include "gate/dns_channel.h"

#include <ares.h>
#include <arpa/nameser.h>

#include <algorithm>
#include <cstring>

#include "base/random.h"
#include "gate/resolver.h"

namespace hako::gate {
namespace {

/// What a path of any kind carries in one piece (dnsflagday.net/2020).
constexpr int kUdpSize = 1232;

Error ares_error(int status, std::string_view what) {
  return Error(ErrorCode::internal, std::string(what) + ": " + ares_strerror(status));
}

uint16_t random_id() {
  std::string bytes = random_bytes(2);
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[0]) << 8 |
                               static_cast<uint8_t>(bytes[1]));
}

ares_addr_port_node node_of(const DnsServer& server) {
  ares_addr_port_node node{};
  node.udp_port = node.tcp_port = server.port;
  if (server.address.is_v4()) {
    node.family = AF_INET;
    auto bytes = server.address.to_v4().to_bytes();
    std::memcpy(&node.addr.addr4, bytes.data(), bytes.size());
  } else {
    node.family = AF_INET6;
    auto bytes = server.address.to_v6().to_bytes();
    std::memcpy(&node.addr.addr6, bytes.data(), bytes.size());
  }
  return node;
}

}  // namespace

struct DnsChannel::Question {
  DnsChannel* channel;
  DnsReply reply;
};

/// A socket that c-ares owns. Handlers may outlive the channel; then `channel` is null.
struct DnsChannel::Watch {
  DnsChannel* channel;
  asio::posix::stream_descriptor descriptor;
  bool wanted[2] = {};  ///< to write, to read
  bool waiting[2] = {};
};

Result<std::unique_ptr<DnsChannel>> DnsChannel::open(asio::any_io_executor executor,
                                                     const std::vector<DnsServer>& servers,
                                                     std::chrono::milliseconds limit) {
  std::unique_ptr<DnsChannel> channel(new DnsChannel(std::move(executor)));
  HAKO_TRYV(channel->begin(servers, limit));
  return channel;
}

DnsChannel::DnsChannel(asio::any_io_executor executor)
    : executor_(std::move(executor)), timer_(executor_) {}

Result<void> DnsChannel::begin(const std::vector<DnsServer>& servers,
                               std::chrono::milliseconds limit) {
  ares_options options{};
  options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS;
  options.ednspsz = kUdpSize;
  // Each try of a server may take twice as long as the one before: with three tries 1 + 2 + 4.
  int count = static_cast<int>(servers.size());
  options.tries = count == 1 ? 3 : 2;
  options.timeout = static_cast<int>(limit.count()) / (count * ((1 << options.tries) - 1));
  options.sock_state_cb = [](void* self, ares_socket_t socket, int read, int write) {
    static_cast<DnsChannel*>(self)->watch(socket, read != 0, write != 0);
  };
  options.sock_state_cb_data = this;
  // What is set here, if only to nothing, it does not look for in files. The servers follow.
  options.ndots = 1;
  char lookups[] = "b";
  options.lookups = lookups;
  int set = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS |
            ARES_OPT_SOCK_STATE_CB | ARES_OPT_NDOTS | ARES_OPT_LOOKUPS | ARES_OPT_SERVERS |
            ARES_OPT_DOMAINS | ARES_OPT_SORTLIST;
  if (int status = ares_init_options(&channel_, &options, set); status != ARES_SUCCESS)
    return ares_error(status, "begin a lookup");

  std::vector<ares_addr_port_node> nodes;
  for (const DnsServer& server : servers) nodes.push_back(node_of(server));
  for (size_t i = 1; i < nodes.size(); ++i) nodes[i - 1].next = &nodes[i];
  if (int status = ares_set_servers_ports(channel_, nodes.data()); status != ARES_SUCCESS)
    return ares_error(status, "set DNS servers");
  return ok();
}

DnsChannel::~DnsChannel() {
  // Ends all questions and, through watch(), all watches.
  if (channel_) ares_destroy(channel_);
}

const DnsReply& DnsChannel::ask(const std::string& name, uint16_t type) {
  Question& question = questions_.emplace_back(Question{this, {}});
  ++pending_;
  unsigned char* bytes = nullptr;
  int length = 0;
  // The id is ours: c-ares takes its from a file, if it may open that, or else they can be guessed.
  int status =
      ares_create_query(name.c_str(), ns_c_in, type, random_id(), 1, &bytes, &length, kUdpSize);
  if (status != ARES_SUCCESS) {
    answered(question, status, nullptr, 0);
    return question.reply;
  }
  auto done = [](void* argument, int result, int, unsigned char* answer, int answer_length) {
    auto* of = static_cast<Question*>(argument);
    of->channel->answered(*of, result, answer, answer_length);
  };
  ares_send(channel_, bytes, length, done, &question);
  ares_free_string(bytes);
  return question.reply;
}

void DnsChannel::answered(Question& question, int status, const unsigned char* bytes, int length) {
  question.reply.status = status;
  if (bytes) question.reply.message.assign(bytes, bytes + length);
  --pending_;
  timer_.cancel();
}

Task<void> DnsChannel::wait() {
  while (pending_ > 0) {
    timer_.expires_after(until_timeout());
    // Cancelled when a reply is there. If it was the caller who cancelled, the next wait throws.
    boost::system::error_code ignored;
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }
}

asio::steady_timer::duration DnsChannel::until_timeout() const {
  timeval next{1, 0};
  ares_timeout(channel_, nullptr, &next);
  // Rounded up: c-ares does nothing before its time has come.
  return std::chrono::seconds(next.tv_sec) + std::chrono::microseconds(next.tv_usec) +
         std::chrono::milliseconds(1);
}

void DnsChannel::watch(int socket, bool read, bool write) {
  auto known = watches_.find(socket);
  if (!read && !write) {
    if (known == watches_.end()) return;
    // c-ares closes it next.
    known->second->channel = nullptr;
    known->second->descriptor.release();
    watches_.erase(known);
    return;
  }
  if (known == watches_.end()) {
    auto made = std::make_shared<Watch>(Watch{this, asio::posix::stream_descriptor(executor_)});
    boost::system::error_code error;
    made->descriptor.assign(socket, error);
    if (error) return;  // nothing is heard from it: the question's timeout comes
    known = watches_.emplace(socket, std::move(made)).first;
  }
  known->second->wanted[0] = write;
  known->second->wanted[1] = read;
  for (bool side : {false, true}) await_ready(known->second, side);
}

void DnsChannel::await_ready(const std::shared_ptr<Watch>& watch, bool read) {
  if (!watch->channel || !watch->wanted[read] || watch->waiting[read]) return;
  watch->waiting[read] = true;
  auto ready = [watch, read](boost::system::error_code error) {
    watch->waiting[read] = false;
    if (error || !watch->channel) return;
    int socket = watch->descriptor.native_handle();
    ares_process_fd(watch->channel->channel_, read ? socket : ARES_SOCKET_BAD,
                    read ? ARES_SOCKET_BAD : socket);
    await_ready(watch, read);
  };
  auto kind =
      read ? asio::posix::stream_descriptor::wait_read : asio::posix::stream_descriptor::wait_write;
  watch->descriptor.async_wait(kind, std::move(ready));
}

}  // namespace hako::gate
