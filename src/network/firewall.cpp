#include "network/firewall.h"

#include <linux/close_range.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <mutex>
#include <sstream>

#include "network/namespace.h"
#include "network/netlink.h"
#include "network/slot.h"

namespace hako::network {
namespace {

/// A burst may be as large as a part of what a second may bring.
constexpr int kBurstPart = 8;

int burst_mib(const SlotLimits& limits) {
  return std::max(1, limits.mib_per_second / kBurstPart);
}

/// nft leaves a burst of 5 out when it lists a rule, as that is the kernel's own.
std::string burst_packets(int count) {
  return "burst " + std::to_string(count == 5 ? 6 : std::max(1, count)) + " packets";
}

/// libnftables says nowhere that several threads may use it.
std::mutex one_at_a_time;

/// A guest's packets are worked on in its VMM's own time, as it hands them over: what they cost is
/// its own. What reaches the gate is not, so that is little enough for the gate to refuse all of it.
std::string rates_from_guest(const SlotLimits& limits) {
  auto number = [](int value) { return std::to_string(value); };
  std::string text;
  if (limits.packets_per_second > 0)
    text += "limit rate over " + number(limits.packets_per_second) + "/second " +
            burst_packets(limits.packets_per_second / kBurstPart) + " drop\n";
  if (limits.mib_per_second > 0)
    text += "limit rate over " + number(limits.mib_per_second) + " mbytes/second burst " +
            number(burst_mib(limits)) + " mbytes drop\n";
  if (limits.names_per_second > 0)
    text += "udp dport 53 limit rate over " + number(limits.names_per_second) + "/second " +
            burst_packets(limits.names_per_second) + " drop\n";
  if (limits.connects_per_second > 0)
    text += "tcp flags syn / fin,syn,rst,ack limit rate over " +
            number(limits.connects_per_second) + "/second " +
            burst_packets(limits.connects_per_second) + " reject with tcp reset\n";
  return text;
}

/// What comes back is sent by the gate, which heeds what is dropped: it is TCP.
std::string chain_to_guest(const SlotLimits& limits) {
  if (limits.mib_per_second <= 0) return "";
  return std::string("chain output {\n"
                     "type filter hook output priority filter; policy accept;\n"
                     "oifname \"") +
         kTapName + "\" limit rate over " + std::to_string(limits.mib_per_second) +
         " mbytes/second burst " + std::to_string(burst_mib(limits)) +
         " mbytes drop\n"
         "}\n";
}

/// Spelled as nft lists it, so that what stands can be compared with it line by line. Protocols
/// are numbers (6: TCP): their names are in /etc/protocols, which a machine need not have.
std::string rules(const SlotLimits& limits) {
  std::string not_from_guest = std::string("iifname != \"") + kTapName + "\" accept\n";
  return
      // The third lock on the way out, after forwarding that is off and routes that do not exist.
      "table inet hako {\n"
      "chain forward {\n"
      "type filter hook forward priority filter; policy drop;\n"
      "}\n"
      "chain prerouting {\n"
      "type filter hook prerouting priority mangle; policy accept;\n" +
      not_from_guest + rates_from_guest(limits) +
      "meta nfproto != ipv4 drop\n"
      // The kernel's own check of sources lets 0.0.0.0 broadcast.
      "ip saddr != " +
      kGuestAddress +
      " drop\n"
      "meta pkttype != host drop\n"
      // Nobody's addresses, and the namespace's loopback: the kernel would drop these in silence.
      "ip daddr { 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/4, 255.255.255.255 } "
      "reject with icmp admin-prohibited\n"
      // Answers to connections of the gate find their own sockets, which take no part in this.
      "meta l4proto 6 tproxy ip to :" +
      std::to_string(kEgressPort) +
      " accept\n"
      "}\n"
      // What the namespace's own stack would answer itself, for every address there is.
      "chain input {\n"
      "type filter hook input priority filter; policy drop;\n" +
      not_from_guest +
      "meta l4proto 6 accept\n"
      "udp dport 53 accept\n"
      "reject with icmp admin-prohibited\n"
      "}\n" +
      chain_to_guest(limits) + "}\n";
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    size_t begin = line.find_first_not_of(" \t");
    if (begin != std::string::npos) lines.push_back(line.substr(begin));
  }
  return lines;
}

struct Close {
  void operator()(nft_ctx* context) const { ::nft_ctx_free(context); }
};

Result<void> leave_descriptors_behind() {
  if (::close_range(3, ~0U, CLOSE_RANGE_UNSHARE) != 0)
    return Error::from_errno(errno, "leave descriptors behind");
  return ok();
}

Result<std::string> run_nft_here(const std::string& commands) {
  // The library ends the process when it cannot open such a socket: better to hear of it here.
  HAKO_TRYV(Netlink::open(NETLINK_NETFILTER));
  std::unique_ptr<nft_ctx, Close> context(::nft_ctx_new(NFT_CTX_DEFAULT));
  if (!context) return Error::from_errno(ENOMEM, "nftables");
  ::nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_NUMERIC_PROTO);
  ::nft_ctx_buffer_output(context.get());
  ::nft_ctx_buffer_error(context.get());
  if (::nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0)
    return std::string(::nft_ctx_get_output_buffer(context.get()));
  if (errno == EPERM) return Error::from_errno(EPERM, "nftables");
  std::string complaint = ::nft_ctx_get_error_buffer(context.get());
  return Error(ErrorCode::unsupported, "the kernel does not take a slot's nftables rules: " +
                                           complaint.substr(0, complaint.find('\n')));
}

/// What the commands print.
Result<std::string> run_nft(const std::string& commands) {
  std::lock_guard lock(one_at_a_time);
  // The library waits with select(), which ends the process when its socket is number 1024 or more.
  // A thread with a table of descriptors of its own gets a low one, however many others there are.
  return on_own_thread(leave_descriptors_behind, [&] { return run_nft_here(commands); });
}

}  // namespace

Result<void> raise_firewall(const SlotLimits& limits) {
  HAKO_TRY(auto standing, read_firewall());
  if (standing == whole_firewall(limits)) return ok();
  // Flushing makes the kernel wait for all its processors, even where there is nothing to flush.
  std::string first = standing.empty() ? "" : "flush ruleset\n";
  HAKO_TRYV(run_nft(first + rules(limits)));
  return ok();
}

Result<std::vector<std::string>> read_firewall() {
  HAKO_TRY(auto text, run_nft("list ruleset"));
  return lines_of(text);
}

std::vector<std::string> whole_firewall(const SlotLimits& limits) {
  return lines_of(rules(limits));
}

}  // namespace hako::network
