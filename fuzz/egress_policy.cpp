// A box's policy as the gate gets it: an error, or a policy that is the same when it is written and
// read again; and whatever it is, private addresses stay closed that it does not open.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "policy/egress_json.h"

namespace {

using namespace hako::policy;

void require(bool holds) {
  if (!holds) std::abort();
}

void ask(const EgressPolicy& policy, const Destination& to) {
  Decision decision = may_connect(policy, to);
  require(!decision.rule.empty() && decision.remedy.empty() == decision.allowed);
  require(decision.explanation().find('\n') == std::string::npos);
  if (!decision.allowed) return;
  require(!policy.layers.empty());
  require(!to.address || is_public(*to.address) || !policy.private_networks.empty());
  require(to.name.empty() || may_resolve(policy, to.name).allowed);
  must_agree(policy, to);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  boost::json::error_code bad;
  auto value = boost::json::parse(text, bad);
  if (bad || !value.is_object()) return 0;
  auto policy = parse_egress(value.get_object());
  if (!policy) {
    require(!policy.error().message().empty());
    return 0;
  }
  auto again = parse_egress(to_json(policy.value()));
  require(again && again.value() == policy.value());
  auto metadata = boost::asio::ip::make_address("169.254.169.254");
  auto somewhere = boost::asio::ip::make_address("8.8.8.8");
  ask(policy.value(), {"", metadata, 80});
  ask(policy.value(), {"", somewhere, 443});
  ask(policy.value(), {"a.example.com", {}, 443});
  ask(policy.value(), {"a.example.com", metadata, 443});
  return 0;
}
