// Nothing widens: whatever caveats are put behind each other, and whatever a key's maker has. Tried
// on many made at random; a failure prints the seed of its case, which makes the same case again.
#include <gtest/gtest.h>

#include "policy/caveat.h"
#include "policy/narrowing_json.h"
#include "policy_world.h"

namespace hako::policy {
namespace {

using namespace test;

class People : public World {
 public:
  using World::World;

  std::string tenant() { return pick({"acme", "other", "default"}); }
  std::string agent() { return pick({"a", "a/b", "a/b/c", "a/c", "b", "ab"}); }
  std::string agent_or_none() { return once_in(4) ? "" : agent(); }
  std::string id() { return pick({"i1", "i2", "i3"}); }
  std::string template_word() {
    return pick({"base", "python", "t1", "t2", "acme/base", "other/base"});
  }
  Label label() { return kLabels[size_t(below(4))]; }
  int64_t number() { return below(5); }
  int64_t time() { return 1'800'000'000'000 + below(5); }

  ActionSet actions() {
    ActionSet made;
    for (Action action : kActions) {
      if (!once_in(3)) made = made | ActionSet{action};
    }
    return made;
  }
  std::set<std::string> words(std::string (People::*one)()) {
    std::set<std::string> made;
    for (int i = 1 + below(4); i > 0; --i) made.insert((this->*one)());
    if (once_in(8)) made.clear();
    return made;
  }
  EgressLayer ceiling() {
    EgressLayer made = layer();
    made.name.clear();
    made.allow_beats_deny = false;
    if (made.level != EgressLevel::allow) made.allow.clear();
    if (made.level == EgressLevel::none) made.deny.clear();
    return made;
  }

  /// One that sets the member with this number, and nothing else.
  Narrowing single(int member) {
    Narrowing made;
    switch (member) {
      case 0:
        made.tenant = once_in(4) ? tenant() : "acme";
        break;
      case 1:
        made.agent = once_in(3) ? agent() : "a";
        break;
      case 2:
        made.sandboxes = words(&People::id);
        break;
      case 3:
        made.templates = words(&People::template_word);
        break;
      case 4:
        made.actions = actions();
        break;
      case 5:
        made.label = label();
        break;
      case 6:
        made.egress = ceiling();
        break;
      case 7:
        made.memory_mib = number();
        break;
      case 8:
        made.vcpus = number();
        break;
      case 9:
        made.ttl_s = number();
        break;
      case 10:
        made.boxes = number();
        break;
      case 11:
        made.egress_bytes = 1 + number();
        break;
      default:
        made.expires_ms = time();
        break;
    }
    return made;
  }
  static constexpr int kMembers = 13;
  Narrowing single() { return single(below(kMembers)); }

  Narrowing several(int one_in = 3) {
    Narrowing made;
    for (int member = 0; member < kMembers; ++member) {
      if (once_in(one_in)) merge(made, single(member), member);
    }
    return made;
  }

  static void merge(Narrowing& into, const Narrowing& from, int member) {
    switch (member) {
      case 0:
        into.tenant = from.tenant;
        break;
      case 1:
        into.agent = from.agent;
        break;
      case 2:
        into.sandboxes = from.sandboxes;
        break;
      case 3:
        into.templates = from.templates;
        break;
      case 4:
        into.actions = from.actions;
        break;
      case 5:
        into.label = from.label;
        break;
      case 6:
        into.egress = from.egress;
        break;
      case 7:
        into.memory_mib = from.memory_mib;
        break;
      case 8:
        into.vcpus = from.vcpus;
        break;
      case 9:
        into.ttl_s = from.ttl_s;
        break;
      case 10:
        into.boxes = from.boxes;
        break;
      case 11:
        into.egress_bytes = from.egress_bytes;
        break;
      default:
        into.expires_ms = from.expires_ms;
        break;
    }
  }

  /// A layer as a token has it: made of the text of a caveat.
  PermissionLayer caveat(size_t number) {
    std::vector<std::string> texts = to_caveats(single());
    const std::string& text = one_of(texts);
    auto parsed = parse_caveat(text);
    EXPECT_TRUE(parsed) << text;
    return {"token caveat " + std::to_string(number), parsed ? parsed.value() : Narrowing(), {}};
  }
  Permission permission() {
    Permission made;
    if (once_in(2)) made.push_back({"key k1", several(8), {}});
    for (int i = below(4); i > 0; --i) made.push_back(caveat(made.size()));
    return made;
  }

  BoxFacts box() {
    return {once_in(4) ? tenant() : "acme", once_in(3) ? agent_or_none() : "a/b", id(), label()};
  }
  TemplateFacts what() {
    return {once_in(3) ? tenant() : "acme", agent_or_none(), pick({"t1", "t2"}),
            pick({"base", "python"}),       label(),         once_in(2)};
  }
  CreateFacts creation() {
    CreateFacts made{what(), label()};
    if (!once_in(4)) made.memory_mib = number();
    if (!once_in(4)) made.vcpus = number();
    if (!once_in(4)) made.ttl_s = number();
    return made;
  }
  Action action() { return kActions[size_t(below(int(kActions.size())))]; }

 private:
  std::string pick(const std::vector<const char*>& all) { return one_of(all); }
};

std::string shown(const Permission& permission) {
  std::string text;
  for (const PermissionLayer& layer : permission) {
    text += "\n" + layer.name + ": " + boost::json::serialize(to_json(layer.leaves));
  }
  return text;
}

/// One question of each kind, with the answers of several permissions to the same.
struct Question {
  Action action;
  BoxFacts box;
  TemplateFacts what;
  CreateFacts creation;
  int64_t now;

  explicit Question(People& people)
      : action(people.action()),
        box(people.box()),
        what(people.what()),
        creation(people.creation()),
        now(people.time() - 1) {}

  std::vector<Decision> ask(const Permission& permission) const {
    return {may(permission, action, now),          may_see(permission, box, now),
            may_act(permission, action, box, now), may_read(permission, what, now),
            may_change(permission, what, now),     may_create(permission, creation, now)};
  }
};

/// Nothing that `narrow` allows is refused by `wide`. Counts what passed, by kind of question.
using Passed = std::array<int, 6>;
void expect_no_more(People& people, const Permission& narrow, const Permission& wide,
                    Passed& passed) {
  for (int i = 0; i < 8; ++i) {
    Question question(people);
    auto narrows = question.ask(narrow), wides = question.ask(wide);
    for (size_t kind = 0; kind < narrows.size(); ++kind) {
      ASSERT_EQ(narrows[kind].remedy.empty(), narrows[kind].allowed);
      if (!narrows[kind].allowed) continue;
      ++passed[kind];
      ASSERT_TRUE(wides[kind].allowed) << "question " << kind << ": " << wides[kind].explanation()
                                       << "\nnarrow:" << shown(narrow) << "\nwide:" << shown(wide);
    }
  }
}

void expect_all_tried(const Passed& passed) {
  for (size_t kind = 0; kind < passed.size(); ++kind)
    EXPECT_GT(passed[kind], int(kCases) / 8) << "question " << kind;
}

bool at_most(const std::optional<int64_t>& narrow, const std::optional<int64_t>& wide) {
  return !wide || (narrow && *narrow <= *wide);
}

void expect_less_left(const Permission& narrow, const Permission& wide) {
  SCOPED_TRACE("narrow:" + shown(narrow) + "\nwide:" + shown(wide));
  Effective less = effective(narrow), more = effective(wide);
  ASSERT_TRUE(more.actions.covers(less.actions));
  ASSERT_TRUE(more.contradiction.empty() || !less.contradiction.empty());
  if (!less.contradiction.empty()) {
    ASSERT_TRUE(less.actions.empty());
    return;
  }
  ASSERT_TRUE(!more.tenant || less.tenant == more.tenant);
  ASSERT_TRUE(is_at_or_below(less.agent, more.agent));
  ASSERT_TRUE(!more.sandboxes ||
              (less.sandboxes && std::includes(more.sandboxes->begin(), more.sandboxes->end(),
                                               less.sandboxes->begin(), less.sandboxes->end())));
  ASSERT_LE(less.label, more.label);
  ASSERT_TRUE(at_most(less.memory_mib, more.memory_mib) && at_most(less.vcpus, more.vcpus) &&
              at_most(less.ttl_s, more.ttl_s) && at_most(less.egress_bytes, more.egress_bytes) &&
              at_most(less.expires_ms, more.expires_ms));
  for (const auto& list : more.templates)
    ASSERT_NE(std::find(less.templates.begin(), less.templates.end(), list), less.templates.end());
  for (const EgressLayer& each : more.egress)
    ASSERT_NE(std::find(less.egress.begin(), less.egress.end(), each), less.egress.end());
}

EgressPlan plan_of(const Permission& permission, const EgressPlatform& platform, Label label,
                   const EgressRequest& request) {
  Effective left = effective(permission);
  return plan_egress(platform, label, request, {left.egress, left.egress_bytes});
}

/// The same with more caveats, each at any place.
Permission with_more(People& people, Permission permission) {
  for (int i = 1 + people.below(4); i > 0; --i) {
    auto at = permission.begin() + people.below(int(permission.size()) + 1);
    bool again = !permission.empty() && people.once_in(4);
    PermissionLayer layer = again ? people.one_of(permission) : people.caveat(100 + size_t(i));
    permission.insert(at, std::move(layer));
  }
  return permission;
}

TEST(PermissionProperty, MoreCaveatsNeverAllowMore) {
  Passed passed{};
  for_many<People>([&](People& people) {
    Permission wide = people.permission(), narrow = with_more(people, wide);
    expect_no_more(people, narrow, wide, passed);
    expect_less_left(narrow, wide);
  });
  expect_all_tried(passed);
}

TEST(PermissionProperty, EachLayerMayRefuseByItself) {
  Passed passed{};
  for_many<People>([&](People& people) {
    Permission all = with_more(people, people.permission());
    for (const PermissionLayer& layer : all) expect_no_more(people, all, {layer}, passed);
  });
  expect_all_tried(passed);
}

TEST(PermissionProperty, TheOrderOfLayersChangesNoAnswer) {
  int passed = 0;
  for_many<People>([&](People& people) {
    Permission one = with_more(people, people.permission()), other = one;
    people.shuffle(other);
    expect_less_left(one, other);
    expect_less_left(other, one);
    Question question(people);
    auto ones = question.ask(one), others = question.ask(other);
    for (size_t kind = 0; kind < ones.size(); ++kind) {
      ASSERT_EQ(ones[kind].allowed, others[kind].allowed) << kind << shown(one);
      passed += ones[kind].allowed;
    }
  });
  EXPECT_GT(passed, int(kCases) / 8);
}

TEST(PermissionProperty, MoreCaveatsNeverOpenAWayOut) {
  int passed = 0, granted = 0;
  for_many<People>([&](People& people) {
    Permission wide = people.permission(), narrow = with_more(people, wide);
    if (people.once_in(2)) narrow.push_back({"token caveat 9", people.single(6), {}});
    EgressPlatform platform = people.platform();
    platform.limits.bytes_total = people.below(6);
    Label label = people.label();
    EgressRequest request = people.request();
    EgressPlan less = plan_of(narrow, platform, label, request);
    EgressPlan more = plan_of(wide, platform, label, request);
    ASSERT_TRUE(more.decision.allowed || !less.decision.allowed) << shown(narrow);
    granted += less.decision.allowed && request.level;
    // 0 is no limit.
    uint64_t least = uint64_t(less.policy.limits.bytes_total) - 1;
    ASSERT_LE(least, uint64_t(more.policy.limits.bytes_total) - 1);
    expect_within(people, less.policy, more.policy, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
  EXPECT_GT(granted, int(kCases) / 16);
}

TEST(PermissionProperty, WhatIsGrantedByLevelPassesEveryCeiling) {
  int passed = 0;
  for_many<People>([&](People& people) {
    EgressPlatform platform;
    platform.ceiling = EgressLevel::internet;
    EgressRequest request;
    request.level = people.level();
    request.own_allow = people.list(6);
    EgressCeilings ceilings;
    for (int i = 1 + people.below(2); i > 0; --i) {
      ceilings.layers.push_back(people.ceiling());
      ceilings.layers.back().name = "key k" + std::to_string(i);
    }
    if (people.once_in(2)) request.own_allow = ceilings.layers.front().allow;
    // An entry that a denied one is only part of is granted, and the gate denies that part.
    for (EgressLayer& layer : ceilings.layers) layer.deny.clear();
    EgressPlan plan = plan_egress(platform, Label::public_data, request, ceilings);
    if (!plan.decision.allowed) return;
    EgressPlan alone = plan_egress(platform, Label::public_data, request);
    expect_within(people, alone.policy, plan.policy, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

/// A narrowing that is often within the permission, and often not.
Narrowing around(People& people, const Permission& outer) {
  Narrowing made;
  for (const PermissionLayer& layer : outer) {
    for (int member = 0; member < People::kMembers; ++member) {
      Narrowing probe;
      People::merge(probe, layer.leaves, member);
      if (probe != Narrowing()) People::merge(made, layer.leaves, member);
    }
  }
  for (int i = people.below(3); i > 0; --i) {
    int member = people.below(People::kMembers);
    People::merge(made, people.once_in(2) ? Narrowing() : people.single(member), member);
  }
  return made;
}

TEST(PermissionProperty, WhatIsWithinAllowsNothingThatTheOuterRefuses) {
  Passed passed{};
  int ways = 0, within = 0;
  for_many<People>([&](People& people) {
    Permission outer = {{"key k1", people.several(), {}}};
    if (people.once_in(2)) outer.push_back(people.caveat(1));
    Narrowing inner = around(people, outer);
    if (!is_within(outer, inner).allowed) return;
    ++within;
    Permission made = {{"key k2", inner, {}}};
    expect_no_more(people, made, outer, passed);
    EgressPlatform platform = people.platform();
    EgressRequest request = people.request();
    Label label = people.label();
    EgressPlan less = plan_of(made, platform, label, request);
    EgressPlan more = plan_of(outer, platform, label, request);
    expect_within(people, less.policy, more.policy, ways);
  });
  EXPECT_GT(within, int(kCases) / 8);
  EXPECT_GT(ways, int(kCases) / 8);
  for (size_t kind = 0; kind < passed.size(); ++kind) EXPECT_GT(passed[kind], 20) << kind;
}

TEST(PermissionProperty, AKeyIsWithinItselfUnlessItsBoxesAreCounted) {
  for_many<People>([](People& people) {
    Narrowing leaves = people.several();
    Decision decision = is_within({{"key k1", leaves, {}}}, leaves);
    bool creates = leaves.boxes.value_or(0) > 0 && !leaves.sandboxes &&
                   leaves.actions.value_or(ActionSet::all()).has(Action::sandbox_create);
    ASSERT_EQ(decision.allowed, !creates)
        << decision.rule << boost::json::serialize(to_json(leaves));
  });
}

TEST(CaveatProperty, TextAndJsonComeBackAsTheyWere) {
  for_many<People>([](People& people) {
    Narrowing all = people.several();
    auto read = narrowing_from(to_json(all));
    ASSERT_TRUE(read) << read.error().message();
    ASSERT_EQ(read.value(), all);
    // Of one member there is one caveat, but an egress of a list and of what it denies has two.
    Narrowing one = people.single();
    auto texts = to_caveats(one);
    if (texts.size() == 1) {
      ASSERT_EQ(parse_caveat(texts[0]).value(), one) << texts[0];
    } else {
      ASSERT_TRUE(one.egress && texts.size() == 2);
    }
  });
}

TEST(CaveatProperty, CaveatsOfANarrowingLeaveNoMoreAndNoLess) {
  Passed passed{};
  int ways = 0;
  for_many<People>([&](People& people) {
    Permission whole = {{"key k1", people.several(6), {}}}, parts;
    for (const std::string& text : to_caveats(whole[0].leaves))
      parts.push_back({"token caveat", parse_caveat(text).value(), {}});
    expect_no_more(people, parts, whole, passed);
    expect_no_more(people, whole, parts, passed);
    EgressPlatform platform = people.platform();
    EgressRequest request = people.request();
    EgressPolicy one = plan_of(whole, platform, Label::public_data, request).policy;
    EgressPolicy other = plan_of(parts, platform, Label::public_data, request).policy;
    expect_within(people, one, other, ways);
    expect_within(people, other, one, ways);
  });
  expect_all_tried(passed);
  EXPECT_GT(ways, int(kCases) / 4);
}

TEST(CaveatProperty, ATextThatWasSpoiltIsRefusedOrSaysOneThing) {
  int taken = 0;
  for_many<People>([&](People& people) {
    auto texts = to_caveats(people.single());
    std::string text = people.one_of(texts);
    for (int i = 1 + people.below(3); i > 0; --i) {
      size_t at = size_t(people.below(int(text.size()) + 1));
      char c = " =<,.:/-*1ax\n\0"[people.below(14)];
      if (people.once_in(3) && at < text.size())
        text.erase(at, 1);
      else if (people.once_in(2) && at < text.size())
        text[at] = c;
      else
        text.insert(at, 1, c);
    }
    auto read = parse_caveat(text);
    if (!read) return;
    ++taken;
    ASSERT_NE(read.value(), Narrowing()) << text;
    auto written = to_caveats(read.value());
    ASSERT_EQ(written.size(), 1u) << text;
    ASSERT_EQ(parse_caveat(written[0]).value(), read.value()) << text;
  });
  EXPECT_GT(taken, int(kCases) / 16);
}

}  // namespace
}  // namespace hako::policy
