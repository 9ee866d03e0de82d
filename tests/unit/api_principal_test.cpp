// Who somebody is, from records and a token's caveats.
#include "api/principal.h"
#include "api/scope.h"

#include <gtest/gtest.h>

namespace hako::api {
namespace {

using policy::Action;

constexpr int64_t kNow = 1'800'000'000'000;

Credential credential(const std::string& role, std::vector<std::string> caveats = {}) {
  Credential made;
  made.key.id = "k1";
  made.key.role = role;
  made.key.tenant = made.tenant.name = role == "platform" ? store::kDefaultTenant : "acme";
  made.key.clearance = "secret";
  made.signatures.assign(caveats.size(), std::string(32, 's'));
  made.caveats = std::move(caveats);
  if (!made.caveats.empty()) made.token_id = "k1.0123456789abcdef";
  return made;
}

Principal principal(const Credential& given) {
  auto made = make_principal(given, config::Config());
  EXPECT_TRUE(made) << made.error().message();
  return made ? std::move(made).value() : nobody();
}

bool manages_tenants(const Principal& who) {
  bool may = policy::may(who.permission, Action::tenant_manage, kNow).allowed;
  EXPECT_EQ(may, who.is_operator);
  return may;
}

TEST(Scope, ALifeIsCountedFromWhenTheBoxWasMadeHoweverOftenItIsExtended) {
  store::SandboxRecord box;
  box.started_ms = kNow - 50'000;
  Principal bound = principal(credential("member", {"ttl <= 60"}));
  EXPECT_TRUE(may_end_at(bound, box, kNow + 10'000).allowed);
  EXPECT_EQ(may_end_at(bound, box, kNow + 10'001).rule, "token caveat 1.ttl");
  EXPECT_EQ(latest_end_ms(bound, box), kNow + 10'000);
  // The operator's limit is from now, and nobody else's layer says anything.
  Principal free = principal(credential("member"));
  EXPECT_TRUE(may_end_at(free, box, kNow + 1'000'000'000'000).allowed);
  EXPECT_EQ(latest_end_ms(free, box), INT64_MAX);
  Principal endless = principal(credential("member", {"ttl <= 9000000000000000000"}));
  EXPECT_EQ(latest_end_ms(endless, box), INT64_MAX);
}

TEST(Principal, TheOperatorManagesTenantsAndNobodyElseDoes) {
  EXPECT_TRUE(manages_tenants(principal(credential("platform"))));
  for (const char* role : {"owner", "member", "viewer", "auditor", "unheard of", ""})
    EXPECT_FALSE(manages_tenants(principal(credential(role)))) << role;
}

TEST(Principal, AnOperatorsTokenForOneTenantManagesNoOther) {
  EXPECT_TRUE(manages_tenants(principal(credential("platform", {"label <= public"}))));
  Credential bound = credential("platform", {"tenant = acme"});
  bound.tenant.name = "acme";
  Principal who = principal(bound);
  EXPECT_FALSE(manages_tenants(who));
  EXPECT_TRUE(policy::may(who.permission, Action::sandbox_create, kNow).allowed);
  // The operator's key itself, acting there by X-Hako-Tenant, does.
  Credential there = credential("platform");
  there.tenant.name = "acme";
  EXPECT_TRUE(manages_tenants(principal(there)));
}

TEST(Principal, AnOperatorsTokenForAnAgentOrSingleBoxesManagesNoTenants) {
  for (const char* caveat : {"agent = build", "sandbox = i1", "actions = sandbox.read"})
    EXPECT_FALSE(manages_tenants(principal(credential("platform", {caveat})))) << caveat;
}

TEST(Principal, AnOldSecretManagesNoKeysAndEndsWithItsGrace) {
  Credential shown = credential("owner");
  shown.key.hash = "new";
  shown.key.old_hash = "old";
  shown.key.old_until_ms = kNow + 1;
  Principal present = principal(shown);
  EXPECT_TRUE(policy::may(present.permission, Action::key_manage, kNow).allowed);
  EXPECT_EQ(present.key_state, state_of(shown.key, "new", shown.tenant));
  shown.old_secret = true;
  Principal old = principal(shown);
  EXPECT_EQ(old.key_state, state_of(shown.key, "old", shown.tenant));
  EXPECT_NE(old.key_state, present.key_state);
  EXPECT_FALSE(policy::may(old.permission, Action::key_manage, kNow).allowed);
  EXPECT_TRUE(policy::may(old.permission, Action::sandbox_exec, kNow).allowed);
  EXPECT_FALSE(policy::may(old.permission, Action::sandbox_exec, kNow + 1).allowed);
}

TEST(Principal, OnlyTheOperatorsRoamAndNotThoseForOneTenant) {
  EXPECT_TRUE(principal(credential("platform")).roams);
  EXPECT_TRUE(principal(credential("platform", {"agent = build"})).roams);
  EXPECT_FALSE(principal(credential("platform", {"agent = build", "tenant = default"})).roams);
  EXPECT_FALSE(principal(credential("owner")).roams);
}

TEST(Principal, ACaveatThatNobodyUnderstandsIsNoToken) {
  auto made = make_principal(credential("owner", {"boxes <= 1", "mood = good"}), config::Config());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::unauthenticated);
}

TEST(Principal, CaveatsForOtherTenantsLeaveNothing) {
  Principal who = principal(credential("owner", {"tenant = other"}));
  EXPECT_FALSE(policy::may(who.permission, Action::sandbox_read, kNow).allowed);
}

}  // namespace
}  // namespace hako::api
