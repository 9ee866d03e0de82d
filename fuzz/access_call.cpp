// Reading along with calls to a guest's services. The first byte chooses the form, the first line
// the path, the rest is the body: fed at once and in pieces it gives the same, what is kept is given
// back, and a record that comes of it is one that the node takes. The same bytes as grants: an
// error, or grants of which each lets in its own token.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gate/access_call.h"
#include "gate/grants.h"
#include "gate/message_peek.h"

namespace {

using namespace hako;
using namespace hako::gate;

constexpr const char* kTypes[] = {"application/json", "application/proto",
                                  "application/connect+json", "application/connect+proto",
                                  "text/plain"};

void require(bool holds) {
  if (!holds) std::abort();
}

struct Seen {
  std::optional<boost::json::object> message;
  std::string problem;
  bool operator==(const Seen&) const = default;
};

Seen peek(const http::RequestHead& head, const AccessCall& call, std::string_view body,
          size_t piece) {
  size_t budget = 0;
  Seen seen;
  {
    MessagePeek peek(head, call.method, budget);
    for (; !body.empty(); body.remove_prefix(std::min(piece, body.size()))) {
      peek.feed(body.substr(0, piece));
      require(budget <= MessagePeek::kLargestBudget);
      require(!peek.done() || budget == 0);
    }
    peek.finish();
    require(peek.done());
    seen = {peek.message(), peek.problem()};
    require(seen.message.has_value() == seen.problem.empty());
  }
  require(budget == 0);
  return seen;
}

void try_grants(std::string_view text) {
  boost::json::error_code error;
  auto value = boost::json::parse(text, error);
  if (error) return;
  auto grants = parse_grants(value);
  if (!grants) return require(!grants.error().message().empty());
  require(grants.value().size() <= kMostGrants);
  for (const Grant& grant : grants.value()) {
    http::RequestHead head;
    head.target = "/files";
    head.fields.set("X-Access-Token", grant.token);
    auto judged = judge_daemon_request(head, grants.value(), from_unix_ms(0));
    require(judged.key == grant.key);
    require(judged.passes() == judged.by.has_value());
    if (judged.by) require(still_hold(grants.value(), *judged.by, from_unix_ms(0)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try_grants(text);
  if (text.empty()) return 0;
  http::RequestHead head;
  head.method = http::Verb::post;
  head.fields.set("Content-Type", kTypes[static_cast<uint8_t>(text[0]) % std::size(kTypes)]);
  text.remove_prefix(1);
  head.target = std::string(text.substr(0, text.find('\n')));
  text.remove_prefix(std::min(head.target.size() + 1, text.size()));
  AccessCall call = call_of(head);
  AccessRecord record = record_of(head, call);
  Seen whole = peek(head, call, text, std::max<size_t>(text.size(), 1));
  require(whole == peek(head, call, text, 1));
  if (whole.message) add_message(record, call, *whole.message);
  bound_texts(record);
  require(record.what.size() <= 2048 && record.detail.size() <= 2048);
  require(record.user.size() <= 256 && record.reason.size() <= 512);
  auto json = to_json(record);
  require(boost::json::parse(boost::json::serialize(json)) == json);
  return 0;
}
