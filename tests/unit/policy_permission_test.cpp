#include "policy/permission.h"

#include <gtest/gtest.h>

#include "policy_samples.h"

namespace hako::policy {
namespace {

using namespace test;

constexpr int64_t kNow = 1'000'000;

PermissionLayer key(Narrowing leaves, std::string name = "key k1") {
  return {std::move(name), std::move(leaves), {}};
}

Narrowing of_tenant(std::string tenant) {
  Narrowing leaves;
  leaves.tenant = std::move(tenant);
  return leaves;
}

Narrowing of_agent(std::string agent) {
  Narrowing leaves = of_tenant("acme");
  leaves.agent = std::move(agent);
  return leaves;
}

Narrowing for_boxes(std::set<std::string> ids) {
  Narrowing leaves;
  leaves.sandboxes = std::move(ids);
  return leaves;
}

Narrowing only(ActionSet actions) {
  Narrowing leaves;
  leaves.actions = actions;
  return leaves;
}

BoxFacts box(std::string agent = "", Label label = Label::public_data) {
  return {"acme", std::move(agent), "i1", label};
}

TemplateFacts own_template(std::string agent = "", std::string name = "base") {
  TemplateFacts facts;
  facts.tenant = "acme";
  facts.agent = std::move(agent);
  facts.id = "t-" + name;
  facts.name = std::move(name);
  return facts;
}

/// Allowed, or the rule that refused.
std::string verdict(const Decision& decision) {
  EXPECT_FALSE(decision.rule.empty() || decision.reason.empty());
  EXPECT_EQ(decision.remedy.empty(), decision.allowed);
  return decision.allowed ? "yes" : decision.rule;
}

TEST(Actions, WordsComeBackAndNoOtherIsTaken) {
  for (Action action : kActions) EXPECT_EQ(action_from(to_string(action)), action);
  for (Role role : kRoles) EXPECT_EQ(role_from(to_string(role)), role);
  EXPECT_FALSE(action_from("") || action_from("sandbox") || action_from("Sandbox.read"));
  EXPECT_FALSE(role_from("") || role_from("Owner"));
}

TEST(Actions, EverySetComesBack) {
  for (uint32_t bits = 1; bits < 1u << kActions.size(); ++bits) {
    ActionSet set;
    for (size_t i = 0; i < kActions.size(); ++i) {
      if (bits >> i & 1) set = set | ActionSet{kActions[i]};
    }
    ASSERT_EQ(actions_from(to_string(set)), set) << to_string(set);
  }
  EXPECT_EQ(to_string(ActionSet{Action::files_write, Action::sandbox_read}),
            "sandbox.read,files.write");
  for (const char* text : {"", ",", "files.read,", ",files.read", "files.read, files.write", "all"})
    EXPECT_FALSE(actions_from(text)) << text;
}

TEST(Actions, RolesAreNoMoreThanTheirOwners) {
  EXPECT_EQ(actions_of(Role::platform), ActionSet::all());
  for (Role role : {Role::owner, Role::member, Role::viewer, Role::auditor}) {
    EXPECT_TRUE(actions_of(Role::owner).covers(actions_of(role))) << to_string(role);
    EXPECT_FALSE(actions_of(role).has(Action::tenant_manage)) << to_string(role);
  }
  for (Role role : {Role::member, Role::viewer, Role::auditor})
    EXPECT_FALSE(actions_of(role).has(Action::key_manage)) << to_string(role);
  for (Action action :
       {Action::sandbox_create, Action::sandbox_exec, Action::files_read, Action::files_write,
        Action::sandbox_ports, Action::sandbox_control, Action::template_write}) {
    EXPECT_FALSE(actions_of(Role::viewer).has(action)) << to_string(action);
    EXPECT_FALSE(actions_of(Role::auditor).has(action)) << to_string(action);
  }
}

TEST(Names, OnlyPlainOnes) {
  std::string longest(64, 'a');
  for (const std::string& name : {std::string("a"), std::string("acme-1.x_y"), longest})
    EXPECT_TRUE(is_tenant_name(name)) << name;
  for (const std::string& name :
       {std::string(), std::string("A"), std::string("-a"), std::string("a-"), std::string(".."),
        std::string("a b"), std::string("a/b"), std::string("a\n"), std::string("\xc3\xa9"),
        longest + "a"})
    EXPECT_FALSE(is_tenant_name(name)) << name;
  EXPECT_TRUE(is_agent_path("build/worker-1"));
  EXPECT_TRUE(is_agent_path("1/2/3/4/5/6/7/8"));
  for (const char* path : {"", "/", "a/", "/a", "a//b", "a/../b", "1/2/3/4/5/6/7/8/9", "a/B"})
    EXPECT_FALSE(is_agent_path(path)) << path;
}

TEST(Names, BelowIsByWholeParts) {
  EXPECT_TRUE(is_at_or_below("a", "a"));
  EXPECT_TRUE(is_at_or_below("a/b", "a"));
  EXPECT_TRUE(is_at_or_below("a/b", ""));
  EXPECT_TRUE(is_at_or_below("", ""));
  EXPECT_FALSE(is_at_or_below("ab", "a"));
  EXPECT_FALSE(is_at_or_below("a", "a/b"));
  EXPECT_FALSE(is_at_or_below("", "a"));
  EXPECT_FALSE(is_at_or_below("b/a", "a"));
}

TEST(May, ActionsNarrowLayerByLayer) {
  Permission permission = {key(only({Action::sandbox_read, Action::files_read})),
                           key(only({Action::files_read, Action::files_write}), "token caveat 1")};
  EXPECT_EQ(verdict(may(permission, Action::files_read, kNow)), "yes");
  EXPECT_EQ(verdict(may(permission, Action::sandbox_read, kNow)), "token caveat 1.actions");
  EXPECT_EQ(verdict(may(permission, Action::files_write, kNow)), "key k1.actions");
  EXPECT_EQ(may(permission, Action::files_read, kNow).rule, "permission");
}

TEST(May, NothingIsLeftFromTheExpiryOn) {
  Narrowing leaves;
  leaves.expires_ms = kNow;
  EXPECT_EQ(verdict(may({key(leaves)}, Action::files_read, kNow - 1)), "yes");
  EXPECT_EQ(verdict(may({key(leaves)}, Action::files_read, kNow)), "key k1.expired");
  EXPECT_EQ(verdict(may_see({key(leaves)}, box(), kNow)), "key k1.expired");
  EXPECT_EQ(verdict(may_read({key(leaves)}, own_template(), kNow)), "key k1.expired");
  EXPECT_EQ(verdict(may_change({key(leaves)}, own_template(), kNow)), "key k1.expired");
  EXPECT_EQ(verdict(may_create({key(leaves)}, {own_template()}, kNow)), "key k1.expired");
}

TEST(May, LayersThatContradictEachOtherLeaveNothing) {
  for (auto [first, second] :
       {std::pair(of_tenant("acme"), of_tenant("other")), std::pair(of_agent("a"), of_agent("b")),
        std::pair(of_agent("a/b"), of_agent("a/c"))}) {
    Permission permission = {key(first), key(second, "token caveat 1")};
    EXPECT_EQ(verdict(may(permission, Action::files_read, kNow)), "token caveat 1.contradiction");
    EXPECT_EQ(verdict(may_see(permission, box(), kNow)), "token caveat 1.contradiction");
    EXPECT_EQ(verdict(may_read(permission, own_template(), kNow)), "token caveat 1.contradiction");
    Effective left = effective(permission);
    EXPECT_FALSE(left.contradiction.empty());
    EXPECT_TRUE(left.actions.empty());
    EXPECT_FALSE(is_within(permission, Narrowing()).allowed);
  }
}

TEST(May, ATokenForSingleBoxesIsForNothingElse) {
  Permission permission = {key(for_boxes({"i1"}))};
  for (Action action : kActions) {
    EXPECT_EQ(verdict(may(permission, action, kNow)),
              kBoxActions.has(action) ? "yes" : "key k1.sandboxes");
  }
  EXPECT_EQ(effective(permission).actions, kBoxActions);
  EXPECT_EQ(verdict(may_create(permission, {own_template()}, kNow)), "key k1.sandboxes");
  EXPECT_EQ(verdict(may_read(permission, own_template(), kNow)), "key k1.sandboxes");
}

TEST(May, AnAgentManagesNoTenants) {
  for (Action action : kActions) {
    EXPECT_EQ(verdict(may({key(of_agent("a"))}, action, kNow)),
              action == Action::tenant_manage ? "key k1.agent" : "yes");
  }
  EXPECT_FALSE(effective({key(of_agent("a"))}).actions.has(Action::tenant_manage));
  EXPECT_TRUE(may({key(of_agent(""))}, Action::tenant_manage, kNow).allowed);
}

TEST(MaySee, TenantAgentIdAndLabel) {
  EXPECT_EQ(verdict(may_see({key(of_tenant("acme"))}, box(), kNow)), "yes");
  EXPECT_EQ(verdict(may_see({key(of_tenant("other"))}, box(), kNow)), "key k1.tenant");
  EXPECT_EQ(verdict(may_see({key(of_agent("a"))}, box("a"), kNow)), "yes");
  EXPECT_EQ(verdict(may_see({key(of_agent("a"))}, box("a/b"), kNow)), "yes");
  EXPECT_EQ(verdict(may_see({key(of_agent("a"))}, box("ab"), kNow)), "key k1.agent");
  EXPECT_EQ(verdict(may_see({key(of_agent("a"))}, box(""), kNow)), "key k1.agent");
  EXPECT_EQ(verdict(may_see({key(of_agent("a/b"))}, box("a"), kNow)), "key k1.agent");
  EXPECT_EQ(verdict(may_see({key(for_boxes({"i1", "i2"}))}, box(), kNow)), "yes");
  EXPECT_EQ(verdict(may_see({key(for_boxes({"i2"}))}, box(), kNow)), "key k1.sandboxes");
  EXPECT_EQ(verdict(may_see({key(for_boxes({}))}, box(), kNow)), "key k1.sandboxes");
  for (Label clearance : kLabels) {
    Narrowing leaves;
    leaves.label = clearance;
    for (Label label : kLabels) {
      EXPECT_EQ(verdict(may_see({key(leaves)}, box("", label), kNow)),
                label <= clearance ? "yes" : "key k1.label");
    }
  }
}

TEST(MaySee, AnyActionOnBoxesIsEnoughAndOneIsNeeded) {
  for (Action action : kActions) {
    EXPECT_EQ(verdict(may_see({key(only({action}))}, box(), kNow)),
              kBoxActions.has(action) ? "yes" : "key k1.actions");
  }
  // Of each layer something is left, and of both nothing.
  Permission permission = {key(only({Action::files_read})),
                           key(only({Action::files_write}), "token caveat 1")};
  EXPECT_EQ(verdict(may_see(permission, box(), kNow)), "token caveat 1.actions");
}

TEST(MayAct, SeesItAndMayDoIt) {
  Permission permission = {key(of_tenant("acme")),
                           key(only({Action::files_read}), "token caveat 1")};
  EXPECT_EQ(verdict(may_act(permission, Action::files_read, box(), kNow)), "yes");
  EXPECT_EQ(verdict(may_act(permission, Action::files_write, box(), kNow)),
            "token caveat 1.actions");
  BoxFacts others = box();
  others.tenant = "other";
  EXPECT_EQ(verdict(may_act(permission, Action::files_read, others, kNow)), "key k1.tenant");
}

TEST(Templates, AreReadByTheirLineAndChangedFromAbove) {
  struct Case {
    const char *agent, *of, *read, *change;
  };
  for (const Case& each :
       {Case{"a", "a", "yes", "yes"}, Case{"a", "a/b", "yes", "yes"},
        Case{"a/b", "a", "yes", "key k1.agent"}, Case{"a", "", "yes", "key k1.agent"},
        Case{"a", "b", "key k1.agent", "key k1.agent"},
        Case{"a/b", "a/c", "key k1.agent", "key k1.agent"}}) {
    Permission permission = {key(of_agent(each.agent))};
    EXPECT_EQ(verdict(may_read(permission, own_template(each.of), kNow)), each.read) << each.of;
    EXPECT_EQ(verdict(may_change(permission, own_template(each.of), kNow)), each.change) << each.of;
  }
}

TEST(Templates, PublicOnesAreReadByAllAndChangedInTheirTenantOnly) {
  TemplateFacts what = own_template("a");
  Permission strangers = {key(of_tenant("other"))};
  EXPECT_EQ(verdict(may_read(strangers, what, kNow)), "key k1.tenant");
  what.is_public = true;
  EXPECT_EQ(verdict(may_read(strangers, what, kNow)), "yes");
  EXPECT_EQ(verdict(may_read({key(of_agent("b"))}, what, kNow)), "yes");
  EXPECT_EQ(verdict(may_change(strangers, what, kNow)), "key k1.tenant");
  EXPECT_EQ(verdict(may_change({key(of_agent("b"))}, what, kNow)), "key k1.agent");
  what.label = Label::secret;
  Narrowing leaves;
  leaves.label = Label::internal;
  EXPECT_EQ(verdict(may_read({key(leaves)}, what, kNow)), "key k1.label");
}

TEST(Templates, ListsNameOthersTemplatesByTheirTenant) {
  auto listing = [](std::string word) {
    Narrowing leaves = of_tenant("acme");
    leaves.templates = std::set<std::string>{std::move(word)};
    return Permission{key(std::move(leaves))};
  };
  TemplateFacts others = own_template();
  others.tenant = "evil";
  others.is_public = true;
  TemplateFacts operators = others;
  operators.tenant = "default";
  EXPECT_EQ(verdict(may_read(listing("base"), own_template(), kNow)), "yes");
  EXPECT_EQ(verdict(may_read(listing("t-base"), own_template(), kNow)), "yes");
  EXPECT_EQ(verdict(may_read(listing("base"), operators, kNow)), "yes");
  EXPECT_EQ(verdict(may_read(listing("base"), others, kNow)), "key k1.templates");
  EXPECT_EQ(verdict(may_read(listing("evil/base"), others, kNow)), "yes");
  EXPECT_EQ(verdict(may_create(listing("other"), {own_template()}, kNow)), "key k1.templates");
}

TEST(MayCreate, SizesAreLimitedAndUnknownOnesRefused) {
  struct Case {
    std::optional<int64_t> Narrowing::*limit;
    std::optional<int64_t> CreateFacts::*asked;
    const char* rule;
  };
  for (const Case& each : {Case{&Narrowing::memory_mib, &CreateFacts::memory_mib, "key k1.memory"},
                           Case{&Narrowing::vcpus, &CreateFacts::vcpus, "key k1.vcpus"},
                           Case{&Narrowing::ttl_s, &CreateFacts::ttl_s, "key k1.ttl"}}) {
    Narrowing leaves;
    leaves.*each.limit = 4;
    CreateFacts asked{own_template()};
    EXPECT_EQ(verdict(may_create({key(leaves)}, asked, kNow)), each.rule);
    asked.*each.asked = 5;
    EXPECT_EQ(verdict(may_create({key(leaves)}, asked, kNow)), each.rule);
    asked.*each.asked = 4;
    EXPECT_EQ(verdict(may_create({key(leaves)}, asked, kNow)), "yes");
  }
}

TEST(MayCreate, LabelAndAction) {
  Narrowing leaves;
  leaves.label = Label::internal;
  CreateFacts asked{own_template(), Label::internal};
  EXPECT_EQ(verdict(may_create({key(leaves)}, asked, kNow)), "yes");
  asked.label = Label::confidential;
  EXPECT_EQ(verdict(may_create({key(leaves)}, asked, kNow)), "key k1.label");
  EXPECT_EQ(verdict(may_create({key(only({Action::sandbox_read}))}, asked, kNow)),
            "key k1.actions");
}

TEST(EffectiveTest, KeepsTheLeastOfEverything) {
  Narrowing wide = of_agent("a"), narrow = of_agent("a/b");
  wide.sandboxes = {"i1", "i2"}, narrow.sandboxes = {"i2", "i3"};
  wide.templates = {"base"}, narrow.templates = {"base", "python"};
  wide.label = Label::secret, narrow.label = Label::internal;
  wide.memory_mib = 100, narrow.memory_mib = 200;
  wide.egress_bytes = 7;
  narrow.expires_ms = 5;
  wide.egress = layer("", EgressLevel::internet), narrow.egress = layer("", EgressLevel::none);
  for (bool swapped : {false, true}) {
    Permission permission = {key(wide), key(narrow, "token caveat 1")};
    if (swapped) std::swap(permission[0], permission[1]);
    Effective left = effective(permission);
    EXPECT_EQ(left.tenant, "acme");
    EXPECT_EQ(left.agent, "a/b");
    EXPECT_EQ(left.sandboxes, std::set<std::string>{"i2"});
    EXPECT_EQ(left.templates.size(), 2u);
    EXPECT_EQ(left.label, Label::internal);
    EXPECT_EQ(left.memory_mib, 100);
    EXPECT_EQ(left.egress_bytes, 7);
    EXPECT_EQ(left.expires_ms, 5);
    EXPECT_EQ(left.vcpus, std::nullopt);
    ASSERT_EQ(left.egress.size(), 2u);
    EXPECT_EQ(left.egress[swapped].name, "key k1");
    EXPECT_EQ(left.egress[!swapped].name, "token caveat 1");
  }
}

TEST(IsWithin, EveryMemberOfTheOuterBindsTheInner) {
  Narrowing outer = of_agent("a");
  outer.actions = actions_of(Role::member);
  outer.label = Label::internal;
  outer.templates = {"base", "python"};
  outer.egress = layer("", EgressLevel::allow, targets({"*.example.com:443"}));
  outer.memory_mib = 512, outer.vcpus = 2, outer.ttl_s = 60, outer.egress_bytes = 1000;
  outer.expires_ms = 100;
  Permission maker = {key(outer)};
  EXPECT_EQ(verdict(is_within(maker, outer)), "yes");
  EXPECT_EQ(verdict(is_within({key(of_agent("a"))}, of_agent("a/b"))), "yes");
  auto without = [&](auto change) {
    Narrowing inner = outer;
    change(inner);
    return verdict(is_within(maker, inner));
  };
  EXPECT_EQ(without([](Narrowing& inner) { inner.tenant = "other"; }), "within.tenant");
  EXPECT_EQ(without([](Narrowing& inner) { inner.tenant.reset(); }), "within.tenant");
  EXPECT_EQ(without([](Narrowing& inner) { inner.agent.reset(); }), "within.agent");
  EXPECT_EQ(without([](Narrowing& inner) { inner.agent = "ab"; }), "within.agent");
  EXPECT_EQ(without([](Narrowing& inner) { inner.agent = "a/b"; }), "yes");
  EXPECT_EQ(without([](Narrowing& inner) { inner.actions.reset(); }), "within.actions");
  EXPECT_EQ(without([](Narrowing& inner) { inner.label = Label::secret; }), "within.label");
  EXPECT_EQ(without([](Narrowing& inner) { inner.label.reset(); }), "within.label");
  EXPECT_EQ(without([](Narrowing& inner) { inner.templates.reset(); }), "within.templates");
  EXPECT_EQ(without([](Narrowing& inner) { inner.templates = {"base", "x"}; }), "within.templates");
  EXPECT_EQ(without([](Narrowing& inner) { inner.templates = {"base"}; }), "yes");
  EXPECT_EQ(without([](Narrowing& inner) { inner.egress.reset(); }), "within.egress");
  EXPECT_EQ(without([](Narrowing& inner) { inner.egress->level = EgressLevel::none; }), "yes");
  EXPECT_EQ(without([](Narrowing& inner) { inner.egress->level = EgressLevel::internet; }),
            "within.egress");
  EXPECT_EQ(without([](Narrowing& inner) { inner.egress->allow = targets({"a.example.com:443"}); }),
            "yes");
  EXPECT_EQ(without([](Narrowing& inner) { inner.egress->allow = targets({"a.example.com"}); }),
            "within.egress");
  EXPECT_EQ(without([](Narrowing& inner) { inner.memory_mib = 513; }), "within.memory");
  EXPECT_EQ(without([](Narrowing& inner) { inner.vcpus.reset(); }), "within.vcpus");
  EXPECT_EQ(without([](Narrowing& inner) { inner.ttl_s = 61; }), "within.ttl");
  EXPECT_EQ(without([](Narrowing& inner) { inner.egress_bytes.reset(); }), "within.egress_bytes");
  EXPECT_EQ(without([](Narrowing& inner) { inner.expires_ms = 101; }), "within.expires");
}

TEST(IsWithin, WhatIsDeniedStaysDenied) {
  Narrowing outer, inner;
  outer.egress = layer("", EgressLevel::internet, {}, targets({"10.0.0.0/8", "*.evil.com"}));
  inner.egress = layer("", EgressLevel::internet, {}, targets({"0.0.0.0/0"}));
  EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "yes");
  inner.egress->deny = targets({"10.0.0.0/8"});
  EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "within.egress");
  // The ports are all there are, but a question for the name is refused by the outer only.
  inner.egress->deny = targets({"10.0.0.0/8", "*.evil.com:1-65535"});
  EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "within.egress");
}

TEST(IsWithin, WhoeverHasNamedBoxesMakesKeysForThoseAlone) {
  EXPECT_EQ(verdict(is_within({key(for_boxes({"i1", "i2"}))}, for_boxes({"i1"}))), "yes");
  EXPECT_EQ(verdict(is_within({key(for_boxes({"i1"}))}, for_boxes({"i1", "i2"}))),
            "within.sandboxes");
  EXPECT_EQ(verdict(is_within({key(for_boxes({"i1"}))}, Narrowing())), "within.sandboxes");
}

TEST(IsWithin, ModelsOfTheMakerOnly) {
  Narrowing outer, inner;
  outer.models = {"claude-*", "gpt-5"};
  for (std::set<std::string> models :
       {std::set<std::string>{"claude-x", "gpt-5"}, {"claude-*"}, {"claude-4*"}, {}}) {
    inner.models = models;
    EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "yes");
  }
  for (std::set<std::string> models :
       {std::set<std::string>{"gpt-5*"}, {"*"}, {"claude"}, {"clau*"}, {"claude-x", "other"}}) {
    inner.models = models;
    EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "within.models");
  }
  inner.models.reset();
  EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "within.models");
}

TEST(IsWithin, AMakerWhoseCallsAreCountedMakesNoKeyThatMakesBoxes) {
  for (auto member :
       {&Narrowing::model_requests, &Narrowing::model_tokens, &Narrowing::model_microusd}) {
    Narrowing outer, inner;
    outer.*member = 3;
    inner.*member = 1;
    EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "within.models");
    inner.actions = ActionSet{Action::sandbox_read};
    EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "yes");
  }
}

TEST(MayCallModel, EveryLayerMustNameIt) {
  Narrowing some, one, none;
  some.models = {"claude-*", "gpt-5"};
  one.models = {"claude-x"};
  none.models = std::set<std::string>();
  EXPECT_EQ(verdict(may_call_model({}, "any")), "yes");
  EXPECT_EQ(verdict(may_call_model({key(some)}, "claude-")), "yes");
  EXPECT_EQ(verdict(may_call_model({key(some)}, "gpt-5")), "yes");
  EXPECT_EQ(verdict(may_call_model({key(some)}, "gpt-5-pro")), "key k1.models");
  EXPECT_EQ(verdict(may_call_model({key(some)}, "Claude-x")), "key k1.models");
  EXPECT_EQ(verdict(may_call_model({key(some), key(one, "box")}, "claude-x")), "yes");
  EXPECT_EQ(verdict(may_call_model({key(some), key(one, "box")}, "gpt-5")), "box.models");
  EXPECT_EQ(verdict(may_call_model({key(none)}, "claude-x")), "key k1.models");
}

TEST(IsWithin, AMakerWhoseBoxesAreCountedMakesNoKeyThatMakesBoxes) {
  Narrowing outer, inner;
  outer.boxes = 3;
  inner.boxes = 1;
  EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "within.boxes");
  inner.actions = ActionSet{Action::sandbox_read};
  EXPECT_EQ(verdict(is_within({key(outer)}, inner)), "yes");
}

}  // namespace
}  // namespace hako::policy
