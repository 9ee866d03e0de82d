// Pages of a log, forwards and backwards, with filters.
#include "audit/reader.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "support/audit_lab.h"

namespace hako::audit {
namespace {
using namespace testing_support;

class AuditReader : public ::testing::Test {
 protected:
  static constexpr int kRecords = 60;

  void SetUp() override {
    auto options = lab_.options();
    options.segment_bytes = 3000;
    // Tests count what is there; none comes by itself meanwhile, however slow the machine.
    options.sign_every = std::chrono::hours(1);
    log_ = std::move(Log::open(options).value());
    for (int i = 0; i < kRecords; ++i) {
      Record record = some_record(i);
      record.time_ms = began_ + i * 1000;
      record.tenant = i % 3 == 0 ? "acme" : "default";
      if (i % 10 == 0) record.action = "command.start";
      record.details.emplace_back("word", "it\xc3\xa9m " + std::to_string(i));
      ASSERT_TRUE(lab_.append(*log_, std::move(record)));
    }
    ASSERT_GT(lab_.segments().size(), 4u);
  }

  Page read(const Query& query) {
    auto page = read_page(lab_.directory(), query);
    EXPECT_TRUE(page) << page.error().message();
    return page ? std::move(page.value()) : Page();
  }
  static std::vector<int64_t> sequences(const Page& page) {
    std::vector<int64_t> all;
    for (const auto& record : page.records) all.push_back(record.at("seq").as_int64());
    return all;
  }
  /// All pages one after another.
  std::vector<int64_t> read_all(Query query) {
    std::vector<int64_t> all;
    for (;;) {
      Page page = read(query);
      auto some = sequences(page);
      all.insert(all.end(), some.begin(), some.end());
      if (!page.more) return all;
      query.from = page.next;
    }
  }

  AuditLab lab_;
  std::unique_ptr<Log> log_;
  const int64_t began_ = to_unix_ms(WallClock::now()) - 100'000;
};

TEST_F(AuditReader, PagesMeetForwardsAndBackwards) {
  size_t lines = lab_.lines().size();
  for (size_t limit : {1u, 7u, 1000u}) {
    Query query;
    query.limit = limit;
    auto forward = read_all(query);
    ASSERT_EQ(forward.size(), lines);
    for (size_t i = 0; i < lines; ++i) EXPECT_EQ(forward[i], int64_t(i + 1));
    query.backward = true;
    auto backward = read_all(query);
    std::reverse(backward.begin(), backward.end());
    EXPECT_EQ(backward, forward);
  }
}

TEST_F(AuditReader, BeginsAtEachRecord) {
  int64_t last = int64_t(lab_.lines().size());
  for (int64_t from = 0; from <= last; ++from) {
    Query query;
    query.from = from;
    query.limit = 1;
    auto next = sequences(read(query));
    EXPECT_EQ(next, from < last ? std::vector<int64_t>{from + 1} : std::vector<int64_t>{});
    query.backward = true;
    auto before = sequences(read(query));
    std::vector<int64_t> expected{from == 0 ? last : from - 1};
    if (from == 1) expected.clear();
    EXPECT_EQ(before, expected) << from;
  }
}

TEST_F(AuditReader, Filters) {
  Query query;
  query.limit = 1000;
  query.tenant = "acme";
  EXPECT_EQ(read(query).records.size(), 20u);
  query.action = "command.";
  EXPECT_EQ(read(query).records.size(), 2u);
  query = Query();
  query.limit = 1000;
  query.sandbox = "i7";
  EXPECT_EQ(read(query).records.size(), 1u);
  query.sandbox = "i";
  EXPECT_EQ(read(query).records.size(), 0u);
  query.sandbox.clear();
  query.text = "it\xc3\xa9m 12";
  EXPECT_EQ(read(query).records.size(), 1u);
  query.text.clear();
  query.outcome = "denied";
  EXPECT_EQ(read(query).records.size(), 0u);
  query.outcome = "ok";
  query.action = "audit.head";
  EXPECT_GT(read(query).records.size(), 5u);
  query.without_action = "audit.head";
  EXPECT_EQ(read(query).records.size(), 0u);
  query = Query();
  query.limit = 1000;
  query.since_ms = began_ + 10'000;
  query.until_ms = began_ + 20'000;
  EXPECT_EQ(read(query).records.size(), 10u);
  query.backward = true;
  EXPECT_EQ(read(query).records.size(), 10u);
  query = Query();
  query.limit = 1000;
  query.admits = [](const Found& record) { return record.at("seq").as_int64() % 2 == 0; };
  EXPECT_EQ(read(query).records.size(), lab_.lines().size() / 2);
}

TEST_F(AuditReader, AnEndThatIsStillBeingWrittenIsLeftOut) {
  int64_t segment = lab_.segments().back();
  size_t lines = lab_.lines().size();
  lab_.put_text(segment, lab_.text(segment) + "{\"seq\":");
  Query query;
  query.limit = 1000;
  EXPECT_EQ(read(query).records.size(), lines);
  query.backward = true;
  EXPECT_EQ(read(query).records.size(), lines);
  lab_.put_text(segment, "");
  EXPECT_EQ(read(query).records.size(), size_t(segment - 1));
}

TEST_F(AuditReader, ALineThatIsNoRecordIsLeftOut) {
  int64_t segment = lab_.segments()[1];
  auto lines = lab_.lines(segment);
  lines[2] = "nonsense";
  lab_.put(segment, lines);
  Query query;
  query.limit = 1000;
  EXPECT_EQ(read(query).records.size(), lab_.lines().size() - 1);
}

}  // namespace
}  // namespace hako::audit
