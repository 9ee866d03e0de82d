#include "policy/explain.h"

#include <gtest/gtest.h>

#include "policy_samples.h"

namespace hako::policy {
namespace {

using namespace test;
using Lines = std::vector<LayerExplanation>;

constexpr int64_t kNow = 1'800'000'000'000;

Narrowing of_agent(std::string agent) {
  Narrowing leaves;
  leaves.agent = std::move(agent);
  return leaves;
}

TEST(Explain, WithoutALayerEverythingIsLeft) {
  EXPECT_EQ(explanation({}, kNow), (Lines{{"together", "everything"}}));
}

TEST(Explain, EachLayerAndAllTogether) {
  Narrowing tenant, key, caveat;
  tenant.tenant = "acme";
  tenant.egress = layer("", EgressLevel::internet, {}, targets({"10.0.0.0/8"}));
  tenant.memory_mib = 1024;
  key.agent = "build";
  key.actions = ActionSet{Action::sandbox_read, Action::files_read, Action::files_write};
  key.templates = {"base", "python"};
  key.boxes = 3;
  key.label = Label::internal;
  caveat.sandboxes = {"i1", "i2"};
  caveat.egress = layer("", EgressLevel::allow, targets({"a.com:443"}));
  caveat.memory_mib = 512;
  caveat.vcpus = 2, caveat.ttl_s = 60, caveat.egress_bytes = 1000;
  caveat.expires_ms = kNow + 1;
  Permission permission = {{"platform", {}, ""},
                           {"tenant acme", tenant, ""},
                           {"key k1", key, ""},
                           {"token caveat 1", caveat, ""}};
  EXPECT_EQ(
      explanation(permission, kNow),
      (Lines{
          {"platform", "everything"},
          {"tenant acme",
           "tenant acme; boxes reach the internet but not 10.0.0.0/8; at most 1024 MiB of memory "
           "in a box"},
          {"key k1",
           "agent build and those below it; only the templates base, python; only sandbox.read, "
           "files.read, files.write; data up to internal; at most 3 boxes at once"},
          {"token caveat 1",
           "only the boxes i1, i2; boxes reach a.com:443; at most 512 MiB of memory in a box; at "
           "most 2 virtual CPUs in a box; at most 60 s of life for a box; at most 1000 bytes in "
           "and out of a box; until 2027-01-15T08:00:00.001Z"},
          {"together",
           "tenant acme; agent build and those below it; only the boxes i1, i2; only the templates "
           "base, python; only sandbox.read, files.read, files.write; data up to internal; boxes "
           "reach the internet but not 10.0.0.0/8; boxes reach a.com:443; at most 3 boxes at once "
           "by key k1; at most 512 MiB of memory in a box; at most 2 virtual CPUs in a box; at "
           "most 60 s of life for a box; at most 1000 bytes in and out of a box; until "
           "2027-01-15T08:00:00.001Z"}}));
}

TEST(Explain, NothingIsSaidToBeNothing) {
  Narrowing expired;
  expired.expires_ms = kNow;
  EXPECT_EQ(explanation({{"key k1", expired, ""}}, kNow),
            (Lines{{"key k1", "nothing: expired at 2027-01-15T08:00:00.000Z"},
                   {"together", "nothing: expired at 2027-01-15T08:00:00.000Z"}}));
  Permission permission = {{"key k1", of_agent("a"), ""},
                           {"token caveat 1", of_agent("b"), ""},
                           {"token caveat 2", of_agent("a/c"), ""}};
  std::string why = "nothing: token caveat 1 is for agent b, and what it narrows is for agent a";
  EXPECT_EQ(explanation(permission, kNow),
            (Lines{{"key k1", "agent a and those below it"},
                   {"token caveat 1", why},
                   {"token caveat 2", "agent a/c and those below it"},
                   {"together", why}}));
}

TEST(Explain, EmptyListsLeaveNothing) {
  Narrowing leaves;
  leaves.sandboxes.emplace();
  leaves.templates.emplace();
  leaves.actions.emplace();
  leaves.egress = layer("", EgressLevel::allow);
  EXPECT_EQ(explanation({{"key k1", leaves, ""}}, kNow).front().text,
            "no boxes; no templates; no actions; boxes reach nothing outside");
}

/// Whoever reads "everything" must not be refused anything.
TEST(Explain, EveryMemberIsMentioned) {
  Narrowing each[17];
  each[0].tenant = "acme";
  each[1].agent = "a";
  each[2].sandboxes = {"i1"};
  each[3].templates = {"base"};
  each[4].actions = ActionSet{Action::files_read};
  each[5].label = Label::confidential;
  each[6].egress = layer("", EgressLevel::none);
  each[7].memory_mib = 1;
  each[8].vcpus = 1;
  each[9].ttl_s = 1;
  each[10].boxes = 1;
  each[11].egress_bytes = 1;
  each[12].expires_ms = kNow + 1;
  each[13].models = {"m"};
  each[14].model_requests = 1;
  each[15].model_tokens = 1;
  each[16].model_microusd = 1;
  for (const Narrowing& leaves : each) {
    for (const LayerExplanation& line : explanation({{"key k1", leaves, ""}}, kNow))
      EXPECT_NE(line.text, "everything") << line.layer;
  }
}

}  // namespace
}  // namespace hako::policy
