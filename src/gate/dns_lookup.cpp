#include "gate/dns_lookup.h"

#include <ares.h>
#include <arpa/nameser.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/random.h"
#include "gate/resolver.h"

namespace hako::gate {
namespace {

/// What a path of any kind carries in one piece (dnsflagday.net/2020).
constexpr int kUdpSize = 1232;

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

struct DnsLookup::Question {
  explicit Question(DnsLookup& owner) : lookup(owner) {}
  // Ends the question if it has not ended, and takes all watches away.
  ~Question() {
    if (channel) ares_destroy(channel);
  }
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  DnsLookup& lookup;
  DnsReply reply;
  std::map<int, std::shared_ptr<Watch>> watches;  ///< by socket
  ares_channel channel = nullptr;
};

/// A socket that c-ares owns. Handlers may outlive the question; then `channel` is null.
struct DnsLookup::Watch {
  ares_channel channel;
  asio::posix::stream_descriptor descriptor;
  bool wanted[2] = {};  ///< to write, to read
  bool waiting[2] = {};
};

DnsLookup::DnsLookup(asio::any_io_executor executor, const std::vector<DnsServer>& servers,
                     std::chrono::milliseconds limit)
    : executor_(std::move(executor)), servers_(servers), limit_(limit), timer_(executor_) {}

DnsLookup::~DnsLookup() = default;

const DnsReply& DnsLookup::ask(const std::string& name, uint16_t type) {
  Question& question = questions_.emplace_back(*this);
  unsigned char* bytes = nullptr;
  int length = 0;
  // The id is ours: c-ares takes its from a file, if it may open that, or else they can be guessed.
  int status =
      ares_create_query(name.c_str(), ns_c_in, type, random_id(), 1, &bytes, &length, kUdpSize);
  if (status == ARES_SUCCESS) status = begin(question);
  if (status == ARES_SUCCESS) {
    auto done = [](void* argument, int result, int, unsigned char* answer, int answer_length) {
      auto& of = *static_cast<Question*>(argument);
      of.lookup.answered(of, result, answer, answer_length);
    };
    ares_send(question.channel, bytes, length, done, &question);
  } else {
    answered(question, status, nullptr, 0);
  }
  ares_free_string(bytes);
  return question.reply;
}

/// A channel with one question: two would share a socket, and an error that the socket tells once.
int DnsLookup::begin(Question& question) {
  ares_options options{};
  options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS;
  options.ednspsz = kUdpSize;
  // Each try of a server may take twice as long as the one before: with three tries 1 + 2 + 4.
  int count = std::max(static_cast<int>(servers_.size()), 1);
  options.tries = count == 1 ? 3 : 2;
  options.timeout = static_cast<int>(limit_.count()) / (count * ((1 << options.tries) - 1));
  options.sock_state_cb = [](void* argument, ares_socket_t socket, int read, int write) {
    auto& of = *static_cast<Question*>(argument);
    of.lookup.watch(of, socket, read != 0, write != 0);
  };
  options.sock_state_cb_data = &question;
  // What is set here, if only to nothing, it does not look for in files. The servers follow.
  options.ndots = 1;
  char lookups[] = "b";
  options.lookups = lookups;
  int set = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS |
            ARES_OPT_SOCK_STATE_CB | ARES_OPT_NDOTS | ARES_OPT_LOOKUPS | ARES_OPT_SERVERS |
            ARES_OPT_DOMAINS | ARES_OPT_SORTLIST;
  if (int status = ares_init_options(&question.channel, &options, set); status != ARES_SUCCESS)
    return status;
  std::vector<ares_addr_port_node> nodes;
  for (const DnsServer& server : servers_) nodes.push_back(node_of(server));
  for (size_t i = 1; i < nodes.size(); ++i) nodes[i - 1].next = &nodes[i];
  return ares_set_servers_ports(question.channel, nodes.empty() ? nullptr : nodes.data());
}

void DnsLookup::answered(Question& question, int status, const unsigned char* bytes, int length) {
  question.reply.done = true;
  question.reply.status = status;
  if (bytes) question.reply.message.assign(bytes, bytes + length);
  timer_.cancel();
}

Task<void> DnsLookup::wait(const DnsReply& reply, Time until) {
  while (!reply.done && std::chrono::steady_clock::now() < until) {
    timer_.expires_at(std::min(until, next_timeout()));
    // Cancelled when a reply is there. If it was the caller who cancelled, the next wait throws.
    boost::system::error_code ignored;
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    for (Question& question : questions_)
      if (question.channel) ares_process_fd(question.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }
}

DnsLookup::Time DnsLookup::next_timeout() const {
  timeval next{1, 0};
  for (const Question& question : questions_)
    if (question.channel) ares_timeout(question.channel, &next, &next);
  // Rounded up: c-ares does nothing before its time has come.
  return std::chrono::steady_clock::now() + std::chrono::seconds(next.tv_sec) +
         std::chrono::microseconds(next.tv_usec) + std::chrono::milliseconds(1);
}

void DnsLookup::watch(Question& question, int socket, bool read, bool write) {
  auto known = question.watches.find(socket);
  if (!read && !write) {
    if (known == question.watches.end()) return;
    // c-ares closes it next.
    known->second->channel = nullptr;
    known->second->descriptor.release();
    question.watches.erase(known);
    return;
  }
  if (known == question.watches.end()) {
    auto made =
        std::make_shared<Watch>(Watch{question.channel, asio::posix::stream_descriptor(executor_)});
    boost::system::error_code error;
    made->descriptor.assign(socket, error);
    if (error) return;  // nothing is heard from it: the question's timeout comes
    known = question.watches.emplace(socket, std::move(made)).first;
  }
  known->second->wanted[0] = write;
  known->second->wanted[1] = read;
  for (bool side : {false, true}) await_ready(known->second, side);
}

void DnsLookup::await_ready(const std::shared_ptr<Watch>& watch, bool read) {
  if (!watch->channel || !watch->wanted[read] || watch->waiting[read]) return;
  watch->waiting[read] = true;
  auto ready = [watch, read](boost::system::error_code error) {
    watch->waiting[read] = false;
    if (error || !watch->channel) return;
    int socket = watch->descriptor.native_handle();
    ares_process_fd(watch->channel, read ? socket : ARES_SOCKET_BAD,
                    read ? ARES_SOCKET_BAD : socket);
    await_ready(watch, read);
  };
  auto kind =
      read ? asio::posix::stream_descriptor::wait_read : asio::posix::stream_descriptor::wait_write;
  watch->descriptor.async_wait(kind, std::move(ready));
}

}  // namespace hako::gate
