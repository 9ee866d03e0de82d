// What of a tenant's records is left out, and that this is told.
#include "api/audit_bounds.h"

#include <gtest/gtest.h>

namespace hako::api {
namespace {

using namespace std::chrono_literals;
using audit::Record;

constexpr int64_t kMib = 1;  ///< a day: 64 KiB at once
const AuditBounds::Time kStart = AuditBounds::Time(1h);

Record record_of(std::string tenant, std::string action, std::string box = {}) {
  Record record;
  record.tenant = std::move(tenant);
  record.action = std::move(action);
  record.sandbox = std::move(box);
  record.outcome = "ok";
  return record;
}

struct Counts {
  int written = 0, left_out = 0;
};

Counts calls(AuditBounds& bounds, const Record& record, AuditBounds::Time now, int many) {
  Counts counts;
  for (int i = 0; i < many; ++i) {
    ++(bounds.admit_call(record, now) ? counts.written : counts.left_out);
  }
  return counts;
}

Counts of_box(AuditBounds& bounds, const Record& record, AuditBounds::Time now, int many) {
  Counts counts;
  for (int i = 0; i < many; ++i) {
    ++(bounds.admit_box(record, now) ? counts.written : counts.left_out);
  }
  return counts;
}

int64_t told(const std::vector<Record>& summaries) {
  int64_t count = 0;
  for (const Record& record : summaries) count += std::stoll(record.details.at(1).second);
  return count;
}

TEST(AuditBounds, OneTenantDoesNotUseUpWhatOthersHave) {
  AuditBounds bounds(kMib);
  auto acme = calls(bounds, record_of("acme", "link.list"), kStart, 1000);
  EXPECT_GT(acme.written, 100);
  EXPECT_LT(acme.written, 220);  // of 64 KiB, some 340 bytes each
  EXPECT_EQ(calls(bounds, record_of("other", "link.list"), kStart, 50).left_out, 0);
  auto summaries = bounds.summaries(kStart + 2s);
  ASSERT_EQ(summaries.size(), 1u);
  EXPECT_EQ(summaries[0].tenant, "acme");
  EXPECT_EQ(summaries[0].action, "audit.left_out");
  EXPECT_EQ(summaries[0].details.at(0).second, "link.list");
  EXPECT_EQ(told(summaries), acme.left_out);
}

TEST(AuditBounds, InADayItIsWhatTheOperatorSays) {
  AuditBounds bounds(kMib);
  double bytes = 0;
  Record record = record_of("acme", "link.list");
  for (auto now = kStart; now < kStart + 24h; now += 1s) {
    for (int i = 0; i < 3; ++i) bytes += bounds.admit_call(record, now) ? 340 : 0;
    (void)bounds.summaries(now);
  }
  EXPECT_LT(bytes, 1.2 * (1 << 20));
  EXPECT_GT(bytes, 0.9 * (1 << 20));
}

TEST(AuditBounds, NoBoxHidesWhatItsTenantOrOthersDo) {
  AuditBounds bounds(kMib);
  auto loud = of_box(bounds, record_of("acme", "egress.dns", "iloud"), kStart, 1000);
  EXPECT_GT(loud.left_out, 900);
  EXPECT_EQ(of_box(bounds, record_of("acme", "egress.dns", "iquiet"), kStart, 20).left_out, 0);
  for (int i = 0; i < 10; ++i) {
    (void)of_box(bounds, record_of("acme", "egress.dns", "i" + std::to_string(i)), kStart, 1000);
  }
  EXPECT_EQ(calls(bounds, record_of("acme", "link.list"), kStart, 50).left_out, 0);
}

TEST(AuditBounds, LongTextsCountForWhatTheyAreInALine) {
  AuditBounds plain(kMib), hostile(kMib);
  Record record = record_of("acme", "link.list");
  record.details = {{"path", std::string(1000, 'a')}};
  int fit = calls(plain, record, kStart, 1000).written;
  record.details = {{"path", std::string(1000, '\xff')}};
  EXPECT_LT(calls(hostile, record, kStart, 1000).written, fit / 3);
}

TEST(AuditBounds, OfNobodyKnownLessIsKept) {
  AuditBounds bounds(kMib);
  auto strangers = calls(bounds, record_of("", "api.flood"), kStart, 1000);
  EXPECT_LT(strangers.written, 20);
  // And for ever there is no more than that.
  int written = 0;
  for (auto now = kStart + 1s; now < kStart + 24h; now += 1s) {
    written += calls(bounds, record_of("", "api.flood"), now, 10).written;
  }
  EXPECT_LT(written, 300);
}

TEST(AuditBounds, AFloodIsToldOfSoonAndThenSeldom) {
  AuditBounds bounds(kMib);
  Record record = record_of("acme", "link.list");
  int64_t left_out = calls(bounds, record, kStart, 1000).left_out;
  int64_t sum = 0;
  int records = 0;
  EXPECT_TRUE(bounds.summaries(kStart).empty()) << "at once it is one of many";
  for (auto now = kStart + 1s; now < kStart + 1h; now += 1s) {
    left_out += calls(bounds, record, now, 10).left_out;
    auto summaries = bounds.summaries(now);
    sum += told(summaries);
    records += int(summaries.size());
  }
  sum += told(bounds.summaries(kStart + 1h, true));
  EXPECT_EQ(sum, left_out) << "none goes uncounted";
  EXPECT_LT(records, 70);
  EXPECT_GT(records, 30);
}

TEST(AuditBounds, OfTooManyKindsTheTenantsAreToldApart) {
  AuditBounds bounds(kMib);
  int64_t left_out = 0;
  for (size_t i = 0; i < 2 * AuditBounds::kMostKinds; ++i) {
    bounds.leave_out(record_of("acme", "egress.dns", "i" + std::to_string(i)), kStart);
    ++left_out;
  }
  auto summaries = bounds.summaries(kStart + 2s);
  EXPECT_LE(summaries.size(), AuditBounds::kMostKinds + 1);
  EXPECT_EQ(told(summaries), left_out);
}

TEST(AuditBounds, WithoutABoundAllIsWritten) {
  AuditBounds bounds(0);
  EXPECT_EQ(calls(bounds, record_of("acme", "link.list"), kStart, 10000).left_out, 0);
  EXPECT_EQ(of_box(bounds, record_of("acme", "egress.dns", "i1"), kStart, 10000).left_out, 0);
}

}  // namespace
}  // namespace hako::api
