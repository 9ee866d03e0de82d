#include <gtest/gtest.h>

#include "node/json_fields.h"
#include "node/record.h"

namespace hako::node {
namespace {

VmRecord sample() {
  VmRecord record;
  record.machine = "m3-abcdefgh";
  record.slot = 3;
  record.state = VmState::box;
  record.template_name = "base";
  record.size = {2, 512};
  record.disk_mib = 4096;
  record.isolation = engine::Isolation::hardware;
  record.vmm = {4711, 123456789, "/run/hako/vmm/m3-abcdefgh", ""};
  record.generation = 2;
  record.box = "i0123456789";
  record.tenant = "acme";
  record.access_token = "secret";
  record.started = from_unix_ms(1'700'000'000'123);
  record.ends = from_unix_ms(1'700'000'300'000);
  return record;
}

TEST(VmRecord, RoundTrip) {
  VmRecord record = sample();
  record.tenant = "acme";
  auto parsed = parse_record(boost::json::serialize(to_json(record)));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(to_json(parsed.value()), to_json(record));
}

TEST(VmRecord, KeepsHowItsPortsAreReached) {
  VmRecord record = sample();
  record.ingress["traffic_token"] = "t";
  auto parsed = parse_record(boost::json::serialize(to_json(record)));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value().ingress, record.ingress);
}

TEST(VmRecord, KeepsWhatItIsACloneOf) {
  VmRecord record = sample();
  record.vmm.base = "abcd";
  auto parsed = parse_record(boost::json::serialize(to_json(record)));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value().vmm.base, "abcd");
}

TEST(VmRecord, KeepsWhatItMayReach) {
  VmRecord record = sample();
  record.egress["layers"] = boost::json::array();
  auto parsed = parse_record(boost::json::serialize(to_json(record)));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value().egress, record.egress);
}

TEST(VmRecord, EveryMissingOrMistypedFieldIsCorrupted) {
  const auto whole = to_json(sample());
  for (const auto& [name, value] : whole) {
    auto without = whole;
    without.erase(name);
    auto parsed = parse_record(boost::json::serialize(without));
    if (name != "tenant") {
      ASSERT_FALSE(parsed) << name;
      EXPECT_EQ(parsed.error().code(), ErrorCode::corrupted);
      EXPECT_NE(parsed.error().message().find(std::string(name)), std::string::npos);
    }

    auto mistyped = whole;
    mistyped[name] = boost::json::array();
    EXPECT_FALSE(parse_record(boost::json::serialize(mistyped))) << name;
  }
}

TEST(VmRecord, OneFromBeforeThereWereTenantsIsTheDefaultOnes) {
  auto old = to_json(sample());
  old.erase("tenant");
  auto parsed = parse_record(boost::json::serialize(old));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value().tenant, "default");
}

TEST(VmRecord, GarbageIsCorrupted) {
  for (const char* text : {"", "{", "[]", "7", "null", "\xff"}) {
    auto parsed = parse_record(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), ErrorCode::corrupted);
  }
}

TEST(Fields, RemembersTheFirstProblemOnly) {
  boost::json::object object = {{"a", 1}, {"b", "text"}, {"big", 1e300}};
  Fields fields(object);
  EXPECT_EQ(fields.integer("a"), 1);
  EXPECT_EQ(fields.text("b"), "text");
  EXPECT_FALSE(fields.problem());
  fields.text("a");
  fields.integer("b");
  ASSERT_TRUE(fields.problem());
  EXPECT_EQ(*fields.problem(), "field 'a' must be a string");
  Fields others(object);
  others.integer("big");
  EXPECT_TRUE(others.problem());
}

}  // namespace
}  // namespace hako::node
