// Tokens for single boxes: whom they are for, and when they go.
#include <gtest/gtest.h>

#include "api/admission.h"
#include "api/grants.h"

namespace hako::api {
namespace {

using policy::Action;
using policy::ActionSet;

constexpr int64_t kNow = 1'000'000;

store::SandboxRecord box() {
  store::SandboxRecord record;
  record.id = "iabc";
  record.access_token = std::string(40, 'a');
  record.key_id = "k1";
  return record;
}

Principal holder(std::string key, ActionSet actions) {
  policy::PermissionLayer layer;
  layer.name = "key " + key;
  layer.leaves.actions = actions;
  Principal who;
  who.key_id = std::move(key);
  who.key_state = "0123456789abcdef";
  who.tenant = store::kDefaultTenant;
  who.permission.push_back(std::move(layer));
  return who;
}

TEST(Grants, AreTheSameForTheSamePrincipalAndOtherwiseNot) {
  Principal who = holder("k1", ActionSet::all());
  auto first = grant_for(who, box());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->token.size(), 40u);
  EXPECT_EQ(grant_for(who, box())->token, first->token);

  store::SandboxRecord other_box = box();
  other_box.id = "idef";
  store::SandboxRecord other_secret = box();
  other_secret.access_token = std::string(40, 'b');
  EXPECT_NE(grant_for(who, other_box)->token, first->token);
  EXPECT_NE(grant_for(who, other_secret)->token, first->token);

  std::vector<Principal> others(6, who);
  others[0].key_id = "k2";
  others[1].token_id = "k1.0123456789abcdef";
  others[2].key_state = "changed";
  others[3].permission[0].leaves.actions = {Action::files_read};
  others[4].permission[0].leaves.label = policy::Label::internal;
  others[5].permission[0].leaves.expires_ms = kNow + 1;
  std::set<std::string> tokens{first->token};
  for (const Principal& each : others) tokens.insert(grant_for(each, box())->token);
  EXPECT_EQ(tokens.size(), 7u);
}

TEST(Grants, ThereIsNoneForThoseWhoMayNotLookInside) {
  EXPECT_FALSE(grant_for(holder("k1", {Action::sandbox_read, Action::sandbox_control}), box()));
  EXPECT_FALSE(grant_for(holder("k1", {Action::sandbox_ports}), box()));
  store::SandboxRecord closed_ports = box();
  closed_ports.traffic_token = std::string(40, 'c');
  Principal for_ports = holder("k1", {Action::sandbox_ports});
  EXPECT_TRUE(grant_for(for_ports, closed_ports));
  ShownTokens shown = shown_tokens(for_ports, closed_ports);
  EXPECT_EQ(shown.inside, "");
  EXPECT_EQ(shown.ports.size(), 40u);
  EXPECT_NE(shown.ports, closed_ports.traffic_token);
  store::SandboxRecord open = box();
  open.access_token.clear();
  EXPECT_FALSE(grant_for(holder("k1", ActionSet::all()), open));
}

TEST(Grants, SurviveTheRecord) {
  Principal who = holder("k1", {Action::files_read, Action::sandbox_read});
  who.token_id = "k1.0123456789abcdef";
  who.permission[0].leaves.expires_ms = kNow + 5;
  who.narrowed = 2;
  Grants grants;
  ASSERT_TRUE(add_grant(grants, *grant_for(who, box()), kNow).value());
  EXPECT_FALSE(add_grant(grants, *grant_for(who, box()), kNow).value());
  EXPECT_EQ(parse_grants(write_grants(grants)), grants);
  for (const char* broken : {"", "{", "{}", "[7]", R"([{"token":"x"}])",
                             R"([{"token":"x","actions":"all","clearance":"public","expires":0}])"}) {
    EXPECT_TRUE(parse_grants(broken).empty()) << broken;
  }
  EXPECT_NE(find_grant(grants, grants[0].token, kNow), nullptr);
  EXPECT_EQ(find_grant(grants, grants[0].token, kNow + 5), nullptr);
  EXPECT_EQ(find_grant(grants, "", kNow), nullptr);
  EXPECT_EQ(find_grant(grants, std::string(40, 'a'), kNow), nullptr);
}

Grant grant_of(std::string key, std::string token = {}, size_t narrowed = 0, int64_t expires = 0) {
  Principal who = holder(std::move(key), {Action::files_read});
  who.token_id = std::move(token);
  who.narrowed = narrowed;
  if (expires != 0) who.permission[0].leaves.expires_ms = expires;
  return *grant_for(who, box());
}

bool has(const Grants& grants, const Grant& grant) {
  return find_grant(grants, grant.token, kNow) != nullptr;
}

TEST(Grants, AreBoundedAndTheGreediestMakesRoom) {
  Grants grants;
  Grant lone = grant_of("k1");
  ASSERT_TRUE(add_grant(grants, lone, kNow));
  for (size_t i = 1; i < kMostSandboxGrants; ++i) {
    ASSERT_TRUE(add_grant(grants, grant_of("k2", "t" + std::to_string(i)), kNow));
  }
  Grant newcomer = grant_of("k3"), another = grant_of("k2", "another");
  auto refused = add_grant(grants, newcomer, kNow, Room::if_free);
  EXPECT_EQ(refused.error().code(), ErrorCode::resource_exhausted);
  ASSERT_TRUE(add_grant(grants, newcomer, kNow));
  ASSERT_TRUE(add_grant(grants, another, kNow));
  EXPECT_EQ(grants.size(), kMostSandboxGrants);
  EXPECT_TRUE(has(grants, lone) && has(grants, newcomer) && has(grants, another));
  EXPECT_FALSE(has(grants, grant_of("k2", "t1")));
  EXPECT_FALSE(has(grants, grant_of("k2", "t2")));
  EXPECT_TRUE(has(grants, grant_of("k2", "t3")));
  // What has expired goes first.
  grants[5].expires_ms = kNow;
  ASSERT_TRUE(add_grant(grants, grant_of("k4"), kNow, Room::if_free));
}

TEST(Grants, OneForEachOfManyKeysIsKept) {
  Grants grants;
  for (size_t i = 0; i < kMostSandboxGrants; ++i) {
    ASSERT_TRUE(add_grant(grants, grant_of("k" + std::to_string(i)), kNow));
  }
  Grants before = grants;
  EXPECT_EQ(add_grant(grants, grant_of("new"), kNow).error().code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(grants, before);
}

TEST(Grants, ATokenHasFewAndWhatWasNarrowedMostMakesRoom) {
  Grants grants;
  Grant maker = grant_of("k1", "t", 1), helper = grant_of("k1", "t", 2, kNow + 1);
  Grant beside = grant_of("k1", "other", 5);
  for (const Grant& grant : {maker, helper, beside}) ASSERT_TRUE(add_grant(grants, grant, kNow));
  for (int64_t i = 2; i < 50; ++i) {
    ASSERT_TRUE(add_grant(grants, grant_of("k1", "t", 3, kNow + i), kNow));
  }
  EXPECT_EQ(grants.size(), kMostGrantsOfOne + 1);
  EXPECT_TRUE(has(grants, maker) && has(grants, helper) && has(grants, beside));
  EXPECT_FALSE(has(grants, grant_of("k1", "t", 3, kNow + 2)));
  EXPECT_TRUE(has(grants, grant_of("k1", "t", 3, kNow + 49)));
  // One that was narrowed more takes the place of none.
  Grants full;
  for (int64_t i = 0; i < int64_t(kMostGrantsOfOne); ++i) {
    ASSERT_TRUE(add_grant(full, grant_of("k1", "t", 1, kNow + 1 + i), kNow));
  }
  auto refused = add_grant(full, grant_of("k1", "t", 2, kNow + 99), kNow);
  EXPECT_EQ(refused.error().code(), ErrorCode::resource_exhausted);
  EXPECT_TRUE(add_grant(full, maker, kNow));
}

TEST(Grants, TheGateIsToldWhoseTheyAre) {
  store::SandboxRecord record = box();
  Principal token = holder("k1", {Action::files_read});
  token.token_id = "k1.0123456789abcdef";
  token.permission[0].leaves.expires_ms = kNow;
  Grants grants;
  ASSERT_TRUE(add_grant(grants, *grant_for(token, record), 0));
  record.grants = write_grants(grants);
  boost::json::array told = ingress_grants(record);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].at("key"), "api");
  EXPECT_EQ(boost::json::serialize(told[0].at("actions")), R"(["sandbox.read"])");
  EXPECT_EQ(told[1].at("key"), "k1.0123456789abcdef");
  EXPECT_EQ(boost::json::serialize(told[1].at("actions")), R"(["files.read"])");
  EXPECT_EQ(told[1].at("expires_ms"), kNow);
  EXPECT_EQ(boost::json::serialize(told).find(record.access_token), std::string::npos);
}

TEST(Grants, OneOfBeforeIsTheGuestsOwnToken) {
  store::SandboxRecord record = box();
  Grant old = grant_of_before(record, "state");
  EXPECT_EQ(old.token, record.access_token);
  EXPECT_TRUE(is_of_before(old, record));
  EXPECT_TRUE(old.actions.has(Action::sandbox_exec));
  EXPECT_EQ(old.clearance, policy::Label::public_data);
  EXPECT_FALSE(is_of_before(*grant_for(holder("k1", ActionSet::all()), record), record));
}

TEST(Grants, AHolderMayOnlyDoWhatTheGrantSaysAndInThatBox) {
  store::SandboxRecord record = box();
  Grant grant = *grant_for(holder("k1", {Action::files_write}), record);
  Principal who = holder_of(grant, record);
  policy::BoxFacts own{record.tenant, "", record.id, policy::Label::public_data};
  policy::BoxFacts other{record.tenant, "", "idef", policy::Label::public_data};
  EXPECT_TRUE(policy::may_act(who.permission, Action::files_write, own, kNow).allowed);
  EXPECT_FALSE(policy::may_act(who.permission, Action::files_read, own, kNow).allowed);
  EXPECT_FALSE(policy::may_see(who.permission, other, kNow).allowed);
}

TEST(Admission, CountsEachBudgetOnItsOwn) {
  policy::Permission permission(2);
  permission[0] = {"key k1", {}, "key:k1"};
  permission[0].leaves.boxes = 3;
  permission[1] = {"token caveat 1", {}, "abcd"};
  permission[1].leaves.boxes = 1;
  store::SandboxRecord record = box();
  record.budgets = {"key:k1", "abcd"};
  store::Store::InUse use;
  use.budgets.resize(2);
  use.budgets[0].boxes = 2;
  EXPECT_TRUE(admit(permission, {}, record, use));
  use.budgets[1].boxes = 1;
  auto refused = admit(permission, {}, record, use);
  EXPECT_EQ(refused.error().code(), ErrorCode::resource_exhausted);
  EXPECT_NE(refused.error().message().find("token caveat 1.boxes"), std::string::npos);
  use.budgets[1].boxes = 0;
  use.budgets[0].boxes = 3;
  EXPECT_NE(admit(permission, {}, record, use).error().message().find("key k1.boxes"),
            std::string::npos);
}

TEST(Admission, ATenantsLimitCountsAllThatItHas) {
  policy::Permission permission(1);
  permission[0] = {"tenant default", {}, budget_of_tenant(store::kDefaultTenant)};
  permission[0].leaves.boxes = 2;
  store::Store::InUse use;
  use.tenant.boxes = 1;
  EXPECT_TRUE(admit(permission, {}, box(), use));
  use.tenant.boxes = 2;
  EXPECT_FALSE(admit(permission, {}, box(), use));
}

}  // namespace
}  // namespace hako::api
