#include "policy/caveat.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "policy/narrowing_json.h"
#include "policy_samples.h"

namespace hako::policy {
namespace {

using namespace test;

Narrowing read(std::string_view text) {
  auto narrowing = parse_caveat(text);
  EXPECT_TRUE(narrowing) << text << ": " << narrowing.error().message();
  return narrowing ? narrowing.value() : Narrowing();
}

TEST(Caveat, EachSetsOneMember) {
  Narrowing expected;
  expected.tenant = "acme";
  EXPECT_EQ(read("tenant = acme"), expected);
  expected = {};
  expected.agent = "build/worker-1";
  EXPECT_EQ(read("agent = build/worker-1"), expected);
  expected = {};
  expected.sandboxes = {"iabc", "idef"};
  EXPECT_EQ(read("sandbox = iabc,idef"), expected);
  expected = {};
  expected.templates = {"base", "acme/python:v1"};
  EXPECT_EQ(read("template = base, acme/python:v1"), expected);
  expected = {};
  expected.actions = ActionSet{Action::sandbox_read, Action::files_read};
  EXPECT_EQ(read("actions = sandbox.read,files.read"), expected);
  expected = {};
  expected.label = Label::internal;
  EXPECT_EQ(read("label <= internal"), expected);
  expected = {};
  expected.expires_ms = to_unix_ms(*from_rfc3339("2026-12-01T00:00:00Z"));
  EXPECT_EQ(read("expires < 2026-12-01T00:00:00Z"), expected);
  EXPECT_EQ(read("expires < 2026-12-01T01:00:00+01:00"), expected);
}

TEST(Caveat, Numbers) {
  EXPECT_EQ(read("memory_mb <= 512").memory_mib, 512);
  EXPECT_EQ(read("cpus <= 2").vcpus, 2);
  EXPECT_EQ(read("ttl <= 3600").ttl_s, 3600);
  EXPECT_EQ(read("boxes <= 0").boxes, 0);
  EXPECT_EQ(read("egress_bytes <= 9223372036854775807").egress_bytes, INT64_MAX);
}

TEST(Caveat, Egress) {
  EXPECT_EQ(read("egress = none").egress, layer("", EgressLevel::none));
  EXPECT_EQ(read("egress = internet").egress, layer("", EgressLevel::internet));
  EXPECT_EQ(read("egress = allow  example.com:443 *.example.org").egress,
            layer("", EgressLevel::allow, targets({"example.com:443", "*.example.org"})));
  EXPECT_EQ(read("egress = deny 192.0.2.0/24").egress,
            layer("", EgressLevel::internet, {}, targets({"192.0.2.0/24"})));
}

TEST(Caveat, SpacesAroundTheSignCountForNothing) {
  EXPECT_EQ(read("boxes<=3"), read("  boxes   <=  3 "));
  EXPECT_EQ(read("agent=a"), read("agent = a"));
  EXPECT_EQ(read("egress=allow a.com"), read("egress = allow a.com"));
}

TEST(Caveat, AnEmptyListLeavesNothing) {
  EXPECT_EQ(read("sandbox =").sandboxes, std::set<std::string>());
  EXPECT_EQ(read("template =").templates, std::set<std::string>());
  EXPECT_EQ(read("actions =").actions, ActionSet());
  EXPECT_EQ(read("egress = allow").egress, layer("", EgressLevel::allow));
}

TEST(Caveat, WhatIsNotUnderstoodIsRefused) {
  const char* const wrong[] = {
      "",
      " ",
      "=",
      "<",
      "agent",
      "agent a",
      "agent =",
      "agent = a b",
      "agent = /a",
      "agent <= a",
      "Agent = a",
      "agents = a",
      "tenant = ACME",
      "tenant = a/b",
      "tenant == a",
      "tenant = a = b",
      "sandbox = a,",
      "sandbox = a b",
      "sandbox = \"a\"",
      "sandbox <= a",
      "template = a,,b",
      "actions = all",
      "actions = files.read,",
      "actions = files.read;files.write",
      "actions <= files.read",
      "label = internal",
      "label <= Internal",
      "label <=",
      "label < secret",
      "egress = ",
      "egress = all",
      "egress = none a.com",
      "egress = internet a.com",
      "egress = deny",
      "egress = allow http://a.com",
      "egress = allow a.com,b.com",
      "egress <= none",
      "egress = allowa.com",
      "memory_mb = 512",
      "memory_mb < 512",
      "boxes <= -1",
      "boxes <= +1",
      "boxes <= 1.5",
      "boxes <= 1e3",
      "boxes <= 0x10",
      "boxes <= ",
      "boxes <= 1 2",
      "boxes <= 9223372036854775808",
      "boxes => 3",
      "boxes >= 3",
      "egress_bytes <= 0",
      "expires <= 2026-12-01T00:00:00Z",
      "expires < tomorrow",
      "expires < 1796083200",
      "expires < 2026-12-01",
      "time < 2026-12-01T00:00:00Z",
      "agent = a\n",
      "agent = a\tb",
      "agent = \xc3\xa9",
  };
  for (const char* text : wrong) {
    auto narrowing = parse_caveat(text);
    ASSERT_FALSE(narrowing) << text;
    EXPECT_EQ(narrowing.error().code(), ErrorCode::invalid_argument);
    EXPECT_FALSE(narrowing.error().message().empty());
    EXPECT_EQ(narrowing.error().message().find('\n'), std::string::npos) << text;
  }
  EXPECT_FALSE(parse_caveat(std::string_view("agent = a\0", 10)));
  EXPECT_FALSE(parse_caveat("sandbox = " + std::string(kLongestCaveat, 'a')));
}

TEST(Caveat, CaveatsOfANarrowingLeaveWhatItDoes) {
  Narrowing all;
  all.tenant = "acme";
  all.agent = "a/b";
  all.sandboxes = {"i1", "i2"};
  all.templates = {"base"};
  all.actions = ActionSet{Action::sandbox_read};
  all.label = Label::public_data;
  all.egress = layer("", EgressLevel::allow, targets({"a.com:443"}), targets({"b.a.com"}));
  all.memory_mib = 1, all.vcpus = 2, all.ttl_s = 3, all.boxes = 4, all.egress_bytes = 5;
  all.models = {"claude-*", "gpt-5"};
  all.model_requests = 6, all.model_tokens = 7, all.model_microusd = 8;
  all.expires_ms = 1796083200123;
  EXPECT_EQ(to_caveats(all),
            (std::vector<std::string>{
                "tenant = acme", "agent = a/b", "sandbox = i1,i2", "template = base",
                "model = claude-*,gpt-5",
                "actions = sandbox.read", "label <= public", "egress = allow a.com:443",
                "egress = deny b.a.com", "memory_mb <= 1", "cpus <= 2", "ttl <= 3", "boxes <= 4",
                "egress_bytes <= 5", "model_requests <= 6", "model_tokens <= 7", "model_microusd <= 8",
                "expires < 2026-12-01T00:00:00.123Z"}));
  EXPECT_TRUE(to_caveats({}).empty());
}

boost::json::object object_of(std::string_view text) {
  return boost::json::parse(text).as_object();
}

TEST(NarrowingJson, ComesBackAsItWas) {
  const char* text =
      R"({"tenant":"acme","agent":"a/b","sandboxes":["i1","i2"],"templates":["base"],)"
      R"("actions":["sandbox.read","files.read"],"label":"internal",)"
      R"("egress":{"level":"allow","allow":["a.com:443"],"deny":["b.a.com"]},"memoryMB":1,)"
      R"("cpuCount":2,"timeout":3,"boxes":4,"egressBytes":5,"expires":"2026-12-01T00:00:00.000Z"})";
  auto read = narrowing_from(object_of(text));
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(boost::json::serialize(to_json(read.value())), text);
  EXPECT_EQ(narrowing_from({}).value(), Narrowing());
  EXPECT_TRUE(to_json({}).empty());
}

TEST(NarrowingJson, AnEgressWithoutALevelIsItsListOrAllButWhatItDenies) {
  auto egress = [](std::string_view text) {
    return narrowing_from({{"egress", object_of(text)}}).value().egress->level;
  };
  EXPECT_EQ(egress(R"({"allow":["a.com"]})"), EgressLevel::allow);
  EXPECT_EQ(egress(R"({"allow":[]})"), EgressLevel::allow);
  EXPECT_EQ(egress(R"({"deny":["a.com"]})"), EgressLevel::internet);
}

TEST(NarrowingJson, ProblemsNameTheMember) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"agents":"a"})", "\"agents\" is not a known member"},
      {R"({"agent":"A"})", "\"agent\""},
      {R"({"agent":null})", "\"agent\""},
      {R"({"agent":""})", "\"agent\""},
      {R"({"tenant":"a/b"})", "\"tenant\""},
      {R"({"sandboxes":"a"})", "\"sandboxes\""},
      {R"({"sandboxes":["a b"]})", "\"sandboxes\""},
      {R"({"templates":[1]})", "\"templates\""},
      {R"({"actions":["all"]})", "\"all\" in \"actions\""},
      {R"({"label":"top"})", "\"label\""},
      {R"({"egress":{}})", "\"egress\""},
      {R"({"egress":"none"})", "\"egress\""},
      {R"({"egress":{"level":"all"}})", "\"level\""},
      {R"({"egress":{"level":"none","allow":["a.com"]}})", "\"allow\""},
      {R"({"egress":{"allow":["http://a"]}})", "\"allow\""},
      {R"({"egress":{"name":"x"}})", "\"name\" is not known in \"egress\""},
      {R"({"memoryMB":-1})", "\"memoryMB\""},
      {R"({"memoryMB":1.0})", "\"memoryMB\""},
      {R"({"cpuCount":"2"})", "\"cpuCount\""},
      {R"({"egressBytes":0})", "\"egressBytes\""},
      {R"({"expires":1796083200})", "\"expires\""},
      {R"({"expires":"never"})", "\"expires\""},
  };
  for (auto [text, message] : wrong) {
    auto read = narrowing_from(object_of(text));
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(read.error().message().rfind(message, 0), 0u) << read.error().message();
  }
}

}  // namespace
}  // namespace hako::policy
