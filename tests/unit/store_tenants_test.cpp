// Tenants, keys, tokens, usage, and what belongs to whom.
#include <gtest/gtest.h>

#include "store/store.h"
#include "support/store_fixture.h"

namespace hako::store {
namespace {

using Names = std::vector<std::string>;

class TenantsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_in_memory();
    ASSERT_TRUE(opened) << opened.error().message();
    store_ = std::move(opened.value());
    for (const char* name : {"acme", "beta"}) {
      ASSERT_TRUE(tenants().add_tenant({.name = name, .created_ms = 5}));
    }
  }
  TenantStore& tenants() { return store_->tenants(); }
  TemplateStore& templates() { return store_->templates(); }

  SandboxRecord box(const std::string& id, const std::string& tenant, const std::string& agent = {}) {
    SandboxRecord made = record(id, 100);
    made.tenant = tenant;
    made.agent = agent;
    made.vcpus = 2;
    made.memory_mib = 512;
    made.disk_mib = 4096;
    return made;
  }
  void add(const SandboxRecord& made) {
    ASSERT_TRUE(store_->add_sandbox(made));
    ASSERT_TRUE(store_->set_running(made.id, {made.started_ms, made.vcpus, made.memory_mib,
                                              made.disk_mib, "emulated"}));
  }
  Names ids(const SandboxQuery& query) {
    auto listed = store_->list_sandboxes(query);
    Names found;
    for (const auto& each : listed.value()) found.push_back(each.id);
    EXPECT_EQ(store_->count_sandboxes(query).value(), int64_t(found.size()));
    return found;
  }

  std::unique_ptr<Store> store_;
};

TEST_F(TenantsTest, TheDefaultOneIsAlwaysThere) {
  EXPECT_TRUE(tenants().find_tenant(kDefaultTenant).value());
  EXPECT_EQ(tenants().remove_tenant(kDefaultTenant).error().code(),
            ErrorCode::failed_precondition);
  EXPECT_TRUE(tenants().find_tenant(kDefaultTenant).value());
}

TEST_F(TenantsTest, AreAddedChangedAndRemoved) {
  TenantRecord made{.name = "gamma",
                    .policy = R"({"label":"internal"})",
                    .quota = R"({"boxes":3})",
                    .suspended = true,
                    .created_ms = 9};
  ASSERT_TRUE(tenants().add_tenant(made));
  EXPECT_EQ(tenants().add_tenant(made).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(tenants().find_tenant("gamma").value(), made);
  made.suspended = false;
  made.quota.clear();
  ASSERT_TRUE(tenants().put_tenant(made));
  EXPECT_EQ(tenants().find_tenant("gamma").value(), made);
  auto all = tenants().all_tenants();
  Names names;
  for (const auto& each : all.value()) names.push_back(each.name);
  EXPECT_EQ(names, (Names{"acme", "beta", "default", "gamma"}));

  ASSERT_TRUE(tenants().remove_tenant("gamma"));
  EXPECT_FALSE(tenants().find_tenant("gamma").value());
  EXPECT_EQ(tenants().put_tenant(made).error().code(), ErrorCode::not_found);
  EXPECT_EQ(tenants().remove_tenant("gamma").error().code(), ErrorCode::not_found);
}

TEST_F(TenantsTest, AreNotRemovedWithWhatTheyHave) {
  ASSERT_TRUE(store_->add_sandbox(box("i1", "acme")));
  EXPECT_EQ(tenants().remove_tenant("acme").error().code(), ErrorCode::failed_precondition);
  ASSERT_TRUE(store_->remove_sandbox("i1"));
  ASSERT_TRUE(templates().put_template({.id = "t1", .name = "app", .tenant = "acme"}));
  EXPECT_EQ(tenants().remove_tenant("acme").error().code(), ErrorCode::failed_precondition);
  ASSERT_TRUE(templates().remove_template("t1"));

  ApiKey own = key("k1", "aa");
  own.tenant = "acme";
  ASSERT_TRUE(tenants().put_key(own));
  ASSERT_TRUE(tenants().put_key(key("k2", "bb")));
  ASSERT_TRUE(tenants().revoke_token("k1.0", "k1", 50));
  ASSERT_TRUE(tenants().add_traffic("acme", "today", 7));
  ASSERT_TRUE(tenants().remove_tenant("acme"));
  EXPECT_FALSE(tenants().find_key("aa", 0).value());
  EXPECT_TRUE(tenants().find_key("bb", 0).value());
  EXPECT_FALSE(tenants().is_token_revoked("k1.0").value());
  // Whoever has the name next begins anew.
  ASSERT_TRUE(tenants().add_tenant({.name = "acme"}));
  EXPECT_EQ(tenants().traffic_of("acme", "today").value(), 0);
}

TEST_F(TenantsTest, NothingBelongsToOneThatIsNotThere) {
  ApiKey stray = key("k1", "aa");
  stray.tenant = "gone";
  EXPECT_EQ(tenants().put_key(stray).error().code(), ErrorCode::not_found);
  EXPECT_EQ(store_->add_sandbox(box("i1", "gone")).error().code(), ErrorCode::not_found);
  TemplateRecord what{.id = "t1", .name = "app", .tenant = "gone"};
  EXPECT_EQ(templates().put_template(what).error().code(), ErrorCode::not_found);
  EXPECT_EQ(tenants().add_traffic("gone", "today", 1).error().code(), ErrorCode::not_found);
  EXPECT_FALSE(store_->find_sandbox("i1").value());
}

TEST_F(TenantsTest, KeysAreFoundByTheirHashWithAllThatIsSaidOfThem) {
  ApiKey made{.id = "k1",
              .hash = "aa",
              .old_hash = "bb",
              .old_until_ms = 50,
              .tenant = "acme",
              .role = "viewer",
              .user = "ann",
              .label = "her laptop",
              .narrowing = R"({"agent":"build"})",
              .clearance = "internal",
              .created_ms = 7,
              .expires_ms = 99};
  ASSERT_TRUE(tenants().put_key(made));
  EXPECT_EQ(tenants().find_key("aa", 1000).value(), made);
  EXPECT_EQ(tenants().find_key_by_id("k1").value(), made);
  EXPECT_FALSE(tenants().find_key("ab", 0).value());
  EXPECT_FALSE(tenants().find_key_by_id("k2").value());
}

TEST_F(TenantsTest, ARotatedKeyCountsUntilItsTime) {
  ApiKey made = key("k1", "new");
  made.old_hash = "old";
  made.old_until_ms = 50;
  ASSERT_TRUE(tenants().put_key(made));
  ASSERT_TRUE(tenants().put_key(key("k2", "other")));  // two without an old one are no clash
  EXPECT_EQ(tenants().find_key("old", 49).value()->id, "k1");
  EXPECT_FALSE(tenants().find_key("old", 50).value());
  EXPECT_TRUE(tenants().find_key("new", 50).value());
  EXPECT_FALSE(tenants().find_key("", 0).value());
}

TEST_F(TenantsTest, PuttingAKeyAgainReplacesIt) {
  ASSERT_TRUE(tenants().put_key(key("operator", "aa")));
  ASSERT_TRUE(tenants().put_key(key("operator", "bb")));
  EXPECT_FALSE(tenants().find_key("aa", 0).value());
  EXPECT_TRUE(tenants().find_key("bb", 0).value());
  EXPECT_EQ(tenants().put_key(key("other", "bb")).error().code(), ErrorCode::already_exists);
}

TEST_F(TenantsTest, KeysOfOneTenantInTheOrderInWhichTheyWereMade) {
  int64_t at = 10;
  for (const char* id : {"kb", "ka", "kc"}) {
    ApiKey made = key(id, std::string("hash-") + id);
    made.tenant = at == 12 ? "beta" : "acme";
    made.created_ms = at++;
    ASSERT_TRUE(tenants().put_key(made));
  }
  auto keys = tenants().keys_of("acme");
  Names found;
  for (const auto& each : keys.value()) found.push_back(each.id);
  EXPECT_EQ(found, (Names{"kb", "ka"}));
  EXPECT_TRUE(tenants().keys_of("default").value().empty());
}

TEST_F(TenantsTest, RemovedKeysAreGoneWithTheirTokens) {
  ASSERT_TRUE(tenants().put_key(key("k1", "aa")));
  ASSERT_TRUE(tenants().revoke_token("k1.0", "k1", 50));
  ASSERT_TRUE(tenants().remove_key("k1"));
  EXPECT_FALSE(tenants().find_key("aa", 0).value());
  EXPECT_EQ(tenants().remove_key("k1").error().code(), ErrorCode::not_found);
  EXPECT_FALSE(tenants().is_token_revoked("k1.0").value());
  EXPECT_EQ(tenants().revoke_token("k1.1", "k1", 50).error().code(), ErrorCode::not_found);
}

TEST_F(TenantsTest, RevokedTokensAreForgottenWhenTheyHaveExpired) {
  ASSERT_TRUE(tenants().put_key(key("k1", "aa")));
  ASSERT_TRUE(tenants().revoke_token("k1.a", "k1", 50));
  ASSERT_TRUE(tenants().revoke_token("k1.b", "k1", 90));
  ASSERT_TRUE(tenants().revoke_token("k1.b", "k1", 20));  // twice: the later end counts
  EXPECT_TRUE(tenants().is_token_revoked("k1.a").value());
  EXPECT_FALSE(tenants().is_token_revoked("k1.c").value());
  EXPECT_EQ(tenants().count_revoked("k1").value(), 2);
  EXPECT_EQ(tenants().count_revoked("k2").value(), 0);
  ASSERT_TRUE(tenants().forget_revoked_before(50));
  EXPECT_TRUE(tenants().is_token_revoked("k1.a").value());
  ASSERT_TRUE(tenants().forget_revoked_before(51));
  EXPECT_FALSE(tenants().is_token_revoked("k1.a").value());
  EXPECT_TRUE(tenants().is_token_revoked("k1.b").value());
}

TEST_F(TenantsTest, WhatWasRevokedBeforeARotationIsForgottenAfterIt) {
  ASSERT_TRUE(tenants().put_key(key("k1", "aa")));
  ASSERT_TRUE(tenants().put_key(key("k2", "bb")));
  ASSERT_TRUE(tenants().revoke_token("k1.a", "k1", INT64_MAX));
  ASSERT_TRUE(tenants().revoke_token("k1.b", "k1", 10));
  ASSERT_TRUE(tenants().revoke_token("k2.a", "k2", INT64_MAX));
  ASSERT_TRUE(tenants().expire_revoked("k1", 20));
  ASSERT_TRUE(tenants().forget_revoked_before(20));
  EXPECT_TRUE(tenants().is_token_revoked("k1.a").value());
  EXPECT_FALSE(tenants().is_token_revoked("k1.b").value());
  ASSERT_TRUE(tenants().forget_revoked_before(21));
  EXPECT_FALSE(tenants().is_token_revoked("k1.a").value());
  EXPECT_TRUE(tenants().is_token_revoked("k2.a").value());
}

TEST_F(TenantsTest, ReplacingAKeyKeepsItsRevokedTokens) {
  ASSERT_TRUE(tenants().put_key(key("k1", "aa")));
  ASSERT_TRUE(tenants().revoke_token("k1.a", "k1", 50));
  ASSERT_TRUE(tenants().put_key(key("k1", "aa")));
  EXPECT_TRUE(tenants().is_token_revoked("k1.a").value());
}

TEST_F(TenantsTest, UsageCountsWhatStartsAndWhatRuns) {
  add(box("i1", "acme"));
  ASSERT_TRUE(store_->add_sandbox(box("i2", "acme")));
  add(box("i3", "beta"));
  EXPECT_EQ(tenants().usage_of("acme").value(), (Usage{2, 4, 1024, 8192}));
  ASSERT_TRUE(store_->remove_sandbox("i1"));
  EXPECT_EQ(tenants().usage_of("acme").value(), (Usage{1, 2, 512, 4096}));
  EXPECT_EQ(tenants().usage_of("nobody").value(), Usage{});
}

TEST_F(TenantsTest, BudgetsAreCountedByTheirWholeNameAndOncePerSandbox) {
  SandboxRecord first = box("i1", "acme");
  first.budgets = {"ab", "k1 \"x\"", "ab"};
  SandboxRecord second = box("i2", "acme");
  second.budgets = {"abc"};
  add(first);
  add(second);
  EXPECT_EQ(tenants().usage_of_budget("ab").value(), (Usage{1, 2, 512, 4096}));
  EXPECT_EQ(tenants().usage_of_budget("k1 \"x\"").value().boxes, 1);
  for (const char* none : {"a", "b", "", "%", "_b", "[\"ab\""}) {
    EXPECT_EQ(tenants().usage_of_budget(none).value(), Usage{}) << none;
  }
  EXPECT_EQ(store_->find_sandbox("i1").value()->budgets, first.budgets);
}

TEST_F(TenantsTest, ASandboxIsAddedOnlyIfItIsAdmitted) {
  SandboxRecord first = box("i1", "acme");
  first.budgets = {"one", "two"};
  add(first);
  SandboxRecord second = box("i2", "acme");
  second.budgets = {"two", "three"};
  Store::InUse seen;
  auto refuse = [&](const Store::InUse& in_use) -> Result<void> {
    seen = in_use;
    return Error(ErrorCode::resource_exhausted, "full");
  };
  EXPECT_EQ(store_->add_sandbox_if(second, refuse).error().code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(seen.tenant.boxes, 1);
  ASSERT_EQ(seen.budgets.size(), 2u);
  EXPECT_EQ(seen.budgets[0].boxes, 1);
  EXPECT_EQ(seen.budgets[1].boxes, 0);
  EXPECT_FALSE(store_->find_sandbox("i2").value());

  auto admit = [](const Store::InUse&) -> Result<void> { return ok(); };
  ASSERT_TRUE(store_->add_sandbox_if(second, admit));
  EXPECT_EQ(store_->find_sandbox("i2").value(), second);
  EXPECT_EQ(store_->add_sandbox_if(second, admit).error().code(), ErrorCode::already_exists);
  auto fail = [](const Store::InUse&) -> Result<void> { throw std::runtime_error("a fault"); };
  EXPECT_THROW((void)store_->add_sandbox_if(box("i3", "acme"), fail), std::runtime_error);
  EXPECT_TRUE(store_->add_sandbox(box("i3", "acme"))) << "the transaction was left open";
}

TEST_F(TenantsTest, SandboxesAreListedByTenantAgentAndId) {
  add(box("i1", "acme"));
  add(box("i2", "acme", "build"));
  add(box("i3", "acme", "build/worker_1"));
  add(box("i4", "acme", "builds"));
  add(box("i5", "acme", "build-x/worker"));
  add(box("i6", "acme", "buildXworker"));
  add(box("i7", "beta", "build"));
  SandboxQuery query{.order = Order::oldest_first, .tenant = "acme"};
  EXPECT_EQ(ids(query), (Names{"i1", "i2", "i3", "i4", "i5", "i6"}));
  query.agent = "build";
  EXPECT_EQ(ids(query), (Names{"i2", "i3"}));
  query.agent = "build/worker_1";
  EXPECT_EQ(ids(query), Names{"i3"});
  for (const char* none : {"b", "buil_", "%", "build/worker", "build/", "build/worker%"}) {
    query.agent = none;
    EXPECT_EQ(ids(query), Names{}) << none;
  }
  query.agent.clear();
  query.ids = Names{"i3", "i7", "none"};
  EXPECT_EQ(ids(query), Names{"i3"});
  query.ids = Names{};
  EXPECT_EQ(ids(query), Names{});
  query = {.tenant = ""};
  EXPECT_EQ(ids(query), Names{});
}

TEST_F(TenantsTest, TenantAgentAndGrantsAreKept) {
  SandboxRecord made = box("i1", "acme", "build/a");
  made.grants = R"([{"token":"t"}])";
  ASSERT_TRUE(store_->add_sandbox(made));
  EXPECT_EQ(store_->find_sandbox("i1").value(), made);
}

TEST_F(TenantsTest, TemplateNamesAreUniqueInATenantOnly) {
  TemplateRecord first{.id = "t1", .name = "app", .tenant = "acme", .agent = "build"};
  TemplateRecord second{.id = "t2", .name = "app", .tenant = "beta"};
  ASSERT_TRUE(templates().put_template(first));
  ASSERT_TRUE(templates().put_template(second));
  EXPECT_EQ(templates().find_template("acme", "app").value(), first);
  EXPECT_EQ(templates().find_template("beta", "app").value(), second);
  EXPECT_EQ(templates().find_template("default", "app").value(), std::nullopt);
  EXPECT_EQ(templates().find_template("default", "t1").value(), first);
  TemplateRecord twin{.id = "t3", .name = "app", .tenant = "acme"};
  EXPECT_EQ(templates().put_template(twin).error().code(), ErrorCode::already_exists);

  // Whose it is does not change.
  TemplateRecord moved = first;
  moved.tenant = "beta";
  moved.agent = "other";
  moved.name = "app2";
  ASSERT_TRUE(templates().put_template(moved));
  EXPECT_EQ(templates().find_template("default", "t1").value()->tenant, "acme");
  EXPECT_EQ(templates().find_template("default", "t1").value()->agent, "build");
}

TEST_F(TenantsTest, AnotherTenantsIdDoesNotHideOnesOwnTemplate) {
  TemplateRecord foreign{.id = "t1", .name = "x", .tenant = "beta"};
  TemplateRecord own{.id = "t2", .name = "t1", .tenant = "acme"};
  ASSERT_TRUE(templates().put_template(foreign));
  ASSERT_TRUE(templates().put_template(own));
  EXPECT_EQ(templates().find_template("acme", "t1").value(), own);
  EXPECT_EQ(templates().find_template("beta", "t1").value(), foreign);
  // Within one tenant the id counts.
  TemplateRecord third{.id = "t3", .name = "t2", .tenant = "acme"};
  ASSERT_TRUE(templates().put_template(third));
  EXPECT_EQ(templates().find_template("acme", "t2").value(), own);
}

TEST_F(TenantsTest, TrafficAddsUpByPeriod) {
  EXPECT_EQ(tenants().traffic_of("acme", "2026-11-25").value(), 0);
  EXPECT_EQ(tenants().add_traffic("acme", "2026-11-25", 100).value(), 100);
  EXPECT_EQ(tenants().add_traffic("acme", "2026-11-25", int64_t(1) << 40).value(),
            (int64_t(1) << 40) + 100);
  EXPECT_EQ(tenants().add_traffic("beta", "2026-11-25", 3).value(), 3);
  EXPECT_EQ(tenants().traffic_of("acme", "2026-11-25").value(), (int64_t(1) << 40) + 100);
  EXPECT_EQ(tenants().traffic_of("acme", "2026-11-26").value(), 0);
}

TEST_F(TenantsTest, TrafficOfOldPeriodsIsForgotten) {
  for (const char* tenant : {"acme", "beta"}) {
    for (const char* day : {"2025-12-31", "2026-11-24", "2026-11-25", "2026-11-26"})
      EXPECT_EQ(tenants().add_traffic(tenant, day, 5).value(), 5);
  }
  ASSERT_TRUE(tenants().forget_traffic("2026-11-25"));
  for (const char* tenant : {"acme", "beta"}) {
    EXPECT_EQ(tenants().traffic_of(tenant, "2025-12-31").value(), 0);
    EXPECT_EQ(tenants().traffic_of(tenant, "2026-11-24").value(), 0);
    EXPECT_EQ(tenants().traffic_of(tenant, "2026-11-25").value(), 5);
    EXPECT_EQ(tenants().traffic_of(tenant, "2026-11-26").value(), 5);
  }
}

}  // namespace
}  // namespace hako::store
