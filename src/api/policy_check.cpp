#include "api/policy_check.h"

#include <algorithm>

#include "api/requests.h"

namespace hako::api {
namespace json = boost::json;
using policy::Decision;
using policy::Destination;

namespace {

constexpr size_t kLongestHost = 255;
constexpr size_t kLongestBox = 64;

/// As DNS compares them: small letters, no dot at the end.
std::string plain_name(std::string name) {
  if (name.ends_with('.')) name.pop_back();
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return name;
}

Destination read_destination(FieldReader& reader) {
  Destination destination;
  auto name = reader.text("name", kLongestHost);
  auto address = reader.text("address", kLongestHost);
  auto port = reader.number("port", 1, UINT16_MAX);
  if (name.has_value() == address.has_value()) reader.fail("name", "or an address is required");
  if (!port) reader.fail("port", "is required");
  if (name) destination.name = plain_name(std::move(*name));
  if (address) {
    boost::system::error_code bad;
    destination.address = boost::asio::ip::make_address(*address, bad);
    if (bad) reader.fail("address", "must be an IP address");
  }
  destination.port = uint16_t(port.value_or(0));
  return destination;
}

/// Nothing if it is not the name of a link.
std::optional<Decision> by_link(const policy::EgressPolicy& policy, const Destination& to) {
  for (const policy::EgressLink& link : policy.links) {
    if (to.name.empty() || link.name != to.name) continue;
    if (link.port == to.port) return Decision::allow("link", "a link leads there");
    return Decision::deny("link", "the link " + link.name + " is for port " +
                                      std::to_string(link.port) + " only",
                          "make a link of another name for this port");
  }
  return std::nullopt;
}

}  // namespace

Result<PolicyQuestion> parse_question(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  PolicyQuestion question;
  question.box = reader.text("box", kLongestBox).value_or("");
  TextPairs metadata = reader.texts("metadata", kMetadataLimits).value_or(TextPairs());
  question.options = read_options(reader, metadata);
  question.label = read_labels(reader, metadata);
  if (!question.box.empty() && question.options != SandboxOptions()) {
    reader.fail("box", "cannot be asked about with rules that it has not got");
  }
  if (const json::object* destination = reader.object("destination")) {
    FieldReader inner(*destination, "destination.");
    question.destination = read_destination(inner);
    reader.merge(inner);
  } else {
    reader.fail("destination", "is required");
  }
  HAKO_TRYV(reader.outcome());
  return question;
}

Result<Decision> answer_question(const policy::EgressPlatform& platform,
                                 const PolicyQuestion& question,
                                 const std::optional<store::SandboxRecord>& record,
                                 const EgressCeilings& of_tenant) {
  if (!record) {
    HAKO_TRY(auto plan,
             plan_sandbox(platform, question.label, question.options, of_tenant));
    if (!plan.decision.allowed) return plan.decision;
    return policy::may_connect(plan.policy, question.destination);
  }
  policy::EgressPolicy policy = read_policy(record->egress);
  if (question.label > label_of(record->label)) {
    // Links go when a label rises.
    policy = capped_policy(platform, question.label, parse_options(record->options), of_tenant);
  }
  if (auto linked = by_link(policy, question.destination)) return *linked;
  return policy::may_connect(policy, question.destination);
}

}  // namespace hako::api
