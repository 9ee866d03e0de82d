// Calls of models: what is set aside, what becomes of it, and sums.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "store/sqlite.h"
#include "store/store.h"
#include "support/store_fixture.h"

namespace hako::store {
namespace {

constexpr int64_t kNow = 1'795'651'200'000;  // 2026-11-26

class ModelsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_sqlite_store(folder_.file("hako.db"));
    ASSERT_TRUE(opened) << opened.error().message();
    store_ = std::move(opened.value());
    ASSERT_TRUE(store_->tenants().add_tenant({.name = "acme", .created_ms = 5}));
    ASSERT_TRUE(store_->tenants().put_key(key("operator", "aa")));
    for (const char* id : {"i1", "i2"}) {
      SandboxRecord box = record(id, 100);
      box.tenant = "acme";
      box.agent = "build/one";
      ASSERT_TRUE(store_->add_sandbox(box));
    }
  }
  ModelStore& models() { return store_->models(); }

  static ModelReservation reservation(const std::string& id, const std::string& box = "i1") {
    ModelReservation made;
    made.id = id;
    made.box = box;
    made.tenant = "acme";
    made.agent = "build/one";
    made.key_id = "operator";
    made.host = "api.example.com";
    made.model = "m";
    made.budgets = {{"box:" + box, ""}, {"tenant:acme", "2026-11"}};
    made.input_tokens = 100;
    made.output_tokens = 50;
    made.microusd = 7;
    made.prices = "{}";
    made.created_ms = kNow;
    return made;
  }
  Result<void> reserve(const ModelReservation& made) {
    return models().reserve(made.box, [&](const ModelStore::Facts&, const ModelStore::Count&) {
      return Result<ModelReservation>(made);
    });
  }
  Result<bool> settle(const std::string& id, const ModelSettlement& settlement) {
    return models().settle(id, kNow, [&](const ModelReservation&) {
      return Result<ModelSettlement>(settlement);
    });
  }
  ModelCount count(const std::string& budget, const std::string& period = {}) {
    return models().count_of({budget, period}).value();
  }

  Folder folder_;
  std::unique_ptr<Store> store_;
};

const ModelSettlement kWhole{.outcome = "ok",
                             .requests = 1,
                             .told = {.input = 10, .cached = 20, .cache_write = 5, .output = 3},
                             .told_microusd = 4};

TEST_F(ModelsTest, WhatIsSetAsideIsReplacedByWhatItTook) {
  ASSERT_TRUE(reserve(reservation("r1")));
  ModelCount open;
  open.open = {1, 150, 7};
  EXPECT_EQ(count("box:i1"), open);
  EXPECT_EQ(count("tenant:acme", "2026-11"), open);
  EXPECT_EQ(count("tenant:acme"), ModelCount());
  EXPECT_EQ(models().count_open().value(), 1);

  EXPECT_TRUE(settle("r1", kWhole).value());
  ModelCount told;
  told.told = {1, 38, 4};
  EXPECT_EQ(count("box:i1"), told);
  EXPECT_EQ(count("tenant:acme", "2026-11"), told);
  EXPECT_EQ(models().count_open().value(), 0);
}

TEST_F(ModelsTest, ASettledOneStaysAsItIs) {
  ASSERT_TRUE(reserve(reservation("r1")));
  EXPECT_TRUE(settle("r1", kWhole).value());
  ModelSettlement other = kWhole;
  other.told.output = 1000;
  EXPECT_FALSE(settle("r1", other).value());
  EXPECT_EQ(count("box:i1").all(), (ModelAmount{1, 38, 4}));
  EXPECT_EQ(settle("unknown", kWhole).error().code(), ErrorCode::not_found);
}

TEST_F(ModelsTest, ASettlementThatFailsChangesNothing) {
  ASSERT_TRUE(reserve(reservation("r1")));
  auto failed = models().settle("r1", kNow, [](const ModelReservation&) {
    return Result<ModelSettlement>(Error(ErrorCode::corrupted, "no"));
  });
  EXPECT_FALSE(failed);
  EXPECT_EQ(count("box:i1").all(), (ModelAmount{1, 150, 7}));
  EXPECT_EQ(models().count_open().value(), 1);
}

TEST_F(ModelsTest, DecidingSeesWhatThereIs) {
  ASSERT_TRUE(models().put_stop({"", "all", "operator", 1}));
  ASSERT_TRUE(models().put_stop({"acme", "some", "operator", 2}));
  ASSERT_TRUE(models().put_stop({"other", "others", "operator", 3}));
  ASSERT_TRUE(reserve(reservation("r1")));
  bool seen = false;
  auto refused = models().reserve(
      "i1", [&](const ModelStore::Facts& facts, const ModelStore::Count& count) {
        seen = true;
        EXPECT_EQ(facts.box.id, "i1");
        EXPECT_EQ(facts.tenant.name, "acme");
        EXPECT_TRUE(facts.key && facts.key->id == "operator");
        EXPECT_EQ(facts.stops.size(), 2u);
        EXPECT_EQ(count({"box:i1", ""}).value().open.tokens, 150);
        EXPECT_EQ(count({"box:none", ""}).value(), ModelCount());
        return Result<ModelReservation>(Error(ErrorCode::permission_denied, "no"));
      });
  EXPECT_TRUE(seen);
  EXPECT_EQ(refused.error().code(), ErrorCode::permission_denied);
  EXPECT_EQ(count("box:i1").all(), (ModelAmount{1, 150, 7}));
  EXPECT_EQ(reserve(reservation("r2", "i9")).error().code(), ErrorCode::not_found);
  EXPECT_EQ(reserve(reservation("r1")).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(count("box:i1").all(), (ModelAmount{1, 150, 7})) << "nothing of a failed one stays";
}

TEST_F(ModelsTest, AKeyThatIsGoneIsSeen) {
  ASSERT_TRUE(store_->tenants().remove_key("operator"));
  auto done = models().reserve("i1", [&](const ModelStore::Facts& facts, const ModelStore::Count&) {
    EXPECT_FALSE(facts.key);
    return Result<ModelReservation>(reservation("r1"));
  });
  EXPECT_TRUE(done);
}

TEST_F(ModelsTest, OldOnesAreSettledSoManyAtOnce) {
  for (int i = 0; i < 5; ++i) {
    auto made = reservation("r" + std::to_string(i));
    made.created_ms = kNow + i;
    ASSERT_TRUE(reserve(made));
  }
  auto lost = [](const ModelReservation& made) {
    ModelSettlement settlement{.outcome = "lost", .requests = 1};
    settlement.unconfirmed_tokens = made.input_tokens + made.output_tokens;
    settlement.unconfirmed_microusd = made.microusd;
    return Result<ModelSettlement>(settlement);
  };
  EXPECT_EQ(models().settle_older(kNow + 4, kNow, 3, lost).value(), 3);
  EXPECT_EQ(models().settle_older(kNow + 4, kNow, 3, lost).value(), 1);
  EXPECT_EQ(models().settle_older(kNow + 4, kNow, 3, lost).value(), 0);
  ModelCount counted = count("box:i1");
  EXPECT_EQ(counted.unconfirmed, (ModelAmount{0, 600, 28}));
  EXPECT_EQ(counted.open, (ModelAmount{1, 150, 7}));
  EXPECT_EQ(counted.all(), (ModelAmount{5, 750, 35})) << "nothing is given back";
  // Too late.
  EXPECT_FALSE(settle("r0", kWhole).value());
}

TEST_F(ModelsTest, SumsByWhateverIsAsked) {
  auto other = reservation("r3", "i2");
  other.model = "n";
  for (const auto& made : {reservation("r1"), reservation("r2"), other}) {
    ASSERT_TRUE(reserve(made));
    ASSERT_TRUE(settle(made.id, kWhole));
  }
  ModelUsageQuery query;
  auto all = models().usage(query).value();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].requests, 3);
  EXPECT_EQ(all[0].tokens, (ModelTokens{.input = 30, .cached = 60, .cache_write = 15, .output = 9}));
  EXPECT_EQ(all[0].microusd, 12);
  auto groups = [&](ModelUsageBy by) {
    query.by = by;
    std::string text;
    auto rows = models().usage(query);
    for (const auto& row : rows.value()) text += row.group + "=" + std::to_string(row.requests) + " ";
    return text;
  };
  EXPECT_EQ(groups(ModelUsageBy::box), "i1=2 i2=1 ");
  EXPECT_EQ(groups(ModelUsageBy::model), "m=2 n=1 ");
  EXPECT_EQ(groups(ModelUsageBy::tenant), "acme=3 ");
  EXPECT_EQ(groups(ModelUsageBy::agent), "build/one=3 ");
  EXPECT_EQ(groups(ModelUsageBy::key), "operator=3 ");
  EXPECT_EQ(groups(ModelUsageBy::day), "2026-11-26=3 ");
  query.box = "i2";
  EXPECT_EQ(groups(ModelUsageBy::all), "=1 ");
  query.box.reset();
  query.agent = "build";
  EXPECT_EQ(groups(ModelUsageBy::all), "=3 ");
  query.agent = "bui";
  EXPECT_EQ(groups(ModelUsageBy::all), "");
  query.agent.clear();
  query.from_day = "2026-11-27";
  EXPECT_EQ(groups(ModelUsageBy::all), "");
  query.from_day.clear();
  query.to_day = "2026-11-25";
  EXPECT_EQ(groups(ModelUsageBy::all), "");
  query.to_day.clear();
  query.tenant = "other";
  EXPECT_EQ(groups(ModelUsageBy::all), "");
}

TEST_F(ModelsTest, ForgetsWhatIsOldAndNothingElse) {
  ASSERT_TRUE(reserve(reservation("r1")));
  ASSERT_TRUE(settle("r1", kWhole));
  ASSERT_TRUE(reserve(reservation("r2", "i2")));
  ASSERT_TRUE(store_->remove_sandbox("i2"));
  ASSERT_TRUE(models().forget(kNow, "2026-11-26"));
  EXPECT_FALSE(settle("r1", kWhole).value());
  EXPECT_EQ(count("box:i2").open.requests, 1) << "it goes on";
  ASSERT_TRUE(settle("r2", kWhole));
  ASSERT_TRUE(models().forget(kNow + 1, "2026-11-27"));
  EXPECT_EQ(settle("r1", kWhole).error().code(), ErrorCode::not_found);
  EXPECT_EQ(count("box:i2"), ModelCount()) << "the box is no more";
  EXPECT_EQ(count("box:i1").told.requests, 1);
  EXPECT_EQ(count("tenant:acme", "2026-11").told.requests, 2);
  EXPECT_TRUE(models().usage({}).value().empty());
}

TEST_F(ModelsTest, StopsAreThrownAndTakenBack) {
  EXPECT_TRUE(models().all_stops().value().empty());
  ASSERT_TRUE(models().put_stop({"acme", "a", "k1", 1}));
  ASSERT_TRUE(models().put_stop({"acme", "b", "k2", 2}));
  EXPECT_EQ(models().all_stops().value(), (std::vector<ModelStop>{{"acme", "b", "k2", 2}}));
  EXPECT_TRUE(models().remove_stop("acme").value());
  EXPECT_FALSE(models().remove_stop("acme").value());
}

/// Eight processes' worth of stores on one file, all of which want the last of a budget.
int64_t let_through_by_many(const std::string& path, int64_t cap, bool count_inside) {
  std::atomic<int64_t> through = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      auto opened = open_sqlite_store(path);
      if (!opened) return;
      ModelStore& models = opened.value()->models();
      ModelBudget budget{"tenant:acme", ""};
      for (int i = 0; i < 20; ++i) {
        int64_t before = models.count_of(budget).value().all().requests;
        auto reserved = models.reserve(
            "i1", [&](const ModelStore::Facts&, const ModelStore::Count& count)
                      -> Result<ModelReservation> {
              HAKO_TRY(auto counted, count(budget));
              int64_t used = count_inside ? counted.all().requests : before;
              if (used >= cap) return Error(ErrorCode::resource_exhausted, "spent");
              ModelReservation made;
              made.id = std::to_string(t) + "-" + std::to_string(i);
              made.box = "i1";
              made.budgets = {budget};
              return made;
            });
        if (reserved) ++through;
        std::this_thread::yield();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return through;
}

TEST_F(ModelsTest, TwoAtOnceNeverGetTheLastOfABudgetBoth) {
  EXPECT_EQ(let_through_by_many(folder_.file("hako.db"), 50, true), 50);
  EXPECT_EQ(models().count_of({"tenant:acme", ""}).value().open.requests, 50);
}

/// The same, with the count from before the transaction: the wall is the transaction.
TEST_F(ModelsTest, CountedOutsideOfTheTransactionTheyDo) {
  int64_t through = 0;
  for (int round = 0; round < 20 && through <= 50; ++round) {
    ASSERT_TRUE(Database::open(folder_.file("hako.db")).value().execute(
        "DELETE FROM model_budgets; DELETE FROM model_reservations"));
    through = let_through_by_many(folder_.file("hako.db"), 50, false);
  }
  EXPECT_GT(through, 50);
}

}  // namespace
}  // namespace hako::store
