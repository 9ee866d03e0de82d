// Caveats as a holder of a token writes them, one for each line: an error of one line, or a
// narrowing that is the same when it is written and read again. Whatever they are, none of them
// gives back what those before it have taken.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "policy/caveat.h"
#include "policy/narrowing_json.h"

namespace {

using namespace hako::policy;

void require(bool holds) {
  if (!holds) std::abort();
}

Narrowing together(const std::vector<std::string>& caveats) {
  Narrowing all;
  for (const std::string& text : caveats) {
    auto one = parse_caveat(text);
    require(bool(one));
    // The only member with two caveats.
    if (all.egress && one.value().egress)
      all.egress->deny = one.value().egress->deny;
    else
      all.egress = one.value().egress;
  }
  return all;
}

void check_round_trip(const Narrowing& narrowing) {
  require(narrowing != Narrowing());
  auto json = narrowing_from(to_json(narrowing));
  require(json && json.value() == narrowing);
  auto caveats = to_caveats(narrowing);
  require(!caveats.empty());
  for (const std::string& text : caveats) {
    // A target may be longer as it is written: "::" with a port needs brackets.
    if (text.size() > kLongestCaveat) return;
  }
  if (narrowing.egress) {
    require(together(caveats).egress == narrowing.egress);
  } else {
    require(caveats.size() == 1 && parse_caveat(caveats[0]).value() == narrowing);
  }
}

void check_less(const Permission& before, const Permission& after) {
  const int64_t now = 1'800'000'000'000;
  BoxFacts box = {"acme", "a/b", "i1", Label::internal};
  TemplateFacts what = {"acme", "a", "t1", "base", Label::public_data, false};
  CreateFacts creation = {what, Label::internal, 512, 1, 60};
  for (Action action : kActions) {
    require(!may(after, action, now).allowed || may(before, action, now).allowed);
    require(!may_act(after, action, box, now).allowed || may_act(before, action, box, now).allowed);
  }
  require(!may_see(after, box, now).allowed || may_see(before, box, now).allowed);
  require(!may_read(after, what, now).allowed || may_read(before, what, now).allowed);
  require(!may_change(after, what, now).allowed || may_change(before, what, now).allowed);
  require(!may_create(after, creation, now).allowed || may_create(before, creation, now).allowed);
  Effective less = effective(after), more = effective(before);
  require(more.actions.covers(less.actions) && less.label <= more.label);
  require(less.egress.size() >= more.egress.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  Permission permission;
  while (permission.size() < kMostCaveats) {
    size_t end = std::min(rest.find('\n'), rest.size());
    auto narrowing = parse_caveat(rest.substr(0, end));
    if (narrowing) {
      check_round_trip(narrowing.value());
      Permission before = permission;
      permission.push_back({"token caveat", narrowing.value(), ""});
      check_less(before, permission);
    } else {
      const std::string& message = narrowing.error().message();
      require(!message.empty() && message.find('\n') == std::string::npos);
    }
    if (end == rest.size()) break;
    rest.remove_prefix(end + 1);
  }
  return 0;
}
