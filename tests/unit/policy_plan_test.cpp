// From what the operator allows and what is asked for to a policy.
#include "policy/egress_plan.h"

#include <gtest/gtest.h>

#include "policy_samples.h"

namespace hako::policy {
namespace {

using namespace test;

EgressPlatform open_platform() {
  EgressPlatform platform;
  platform.ceiling = EgressLevel::internet;
  return platform;
}

/// E2B's fields; `internet` as its SDKs send it.
EgressRequest e2b(std::optional<bool> internet, std::vector<Target> allow = {},
                  std::vector<Target> deny = {}) {
  EgressRequest request;
  request.allow_internet_access = internet;
  request.allow_out = std::move(allow);
  request.deny_out = std::move(deny);
  return request;
}

EgressRequest ours(EgressLevel level, std::vector<Target> allow = {},
                   std::vector<Target> deny = {}) {
  EgressRequest request;
  request.level = level;
  request.own_allow = std::move(allow);
  request.own_deny = std::move(deny);
  return request;
}

EgressPolicy policy_of(const EgressPlatform& platform, Label label, const EgressRequest& request) {
  EgressPlan plan = plan_egress(platform, label, request);
  EXPECT_TRUE(plan.decision.allowed) << plan.decision.explanation();
  return plan.policy;
}

std::vector<std::string> layer_names(const EgressPolicy& policy) {
  std::vector<std::string> names;
  for (const EgressLayer& each : policy.layers) names.push_back(each.name);
  return names;
}

using Names = std::vector<std::string>;

TEST(Plan, ClosedUnlessTheOperatorOpens) {
  for (const EgressRequest& request :
       {EgressRequest(), e2b(true), e2b(false), e2b(true, targets({"8.8.8.8"}))}) {
    EgressPolicy policy = policy_of(EgressPlatform(), Label::public_data, request);
    EXPECT_EQ(may_connect(policy, to_address("8.8.8.8")).rule, "platform.level");
    EXPECT_FALSE(may_resolve(policy, "example.com").allowed);
  }
}

TEST(Plan, WhoAsksForNothingGetsTheStandard) {
  EgressPlatform platform = open_platform();
  platform.allow = targets({"pypi.org"});
  auto reaches = [&](const char* name) {
    return may_connect(policy_of(platform, Label::public_data, {}), to_name(name)).allowed;
  };
  EXPECT_FALSE(reaches("pypi.org"));
  platform.standard = EgressLevel::allow;
  EXPECT_TRUE(reaches("pypi.org"));
  EXPECT_FALSE(reaches("example.com"));
  platform.standard = EgressLevel::internet;
  EXPECT_TRUE(reaches("example.com"));
  platform.ceiling = EgressLevel::none;
  EXPECT_FALSE(reaches("example.com"));
}

TEST(Plan, E2bsFieldsAsItsServerReadsThem) {
  auto reaches = [&](const EgressRequest& request, const Destination& to) {
    return may_connect(policy_of(open_platform(), Label::public_data, request), to).allowed;
  };
  std::vector<Target> all = targets({"0.0.0.0/0"});
  EXPECT_TRUE(reaches(e2b(true), to_name("example.com")));
  EXPECT_FALSE(reaches(e2b(false), to_name("example.com")));
  EXPECT_FALSE(reaches(e2b(true, {}, all), to_name("example.com")));
  EXPECT_FALSE(reaches(e2b(true, {}, all), to_address("8.8.8.8")));

  EgressRequest listed = e2b(true, targets({"*.example.com", "8.8.8.8"}), all);
  EXPECT_TRUE(reaches(listed, to_name("a.example.com")));
  EXPECT_TRUE(reaches(listed, to_address("8.8.8.8")));
  EXPECT_FALSE(reaches(listed, to_name("example.org")));
  EXPECT_FALSE(reaches(listed, to_address("8.8.4.4")));
  EXPECT_TRUE(reaches(e2b(false, targets({"8.8.8.8"})), to_address("8.8.8.8")));
  EXPECT_FALSE(reaches(e2b(false, targets({"8.8.8.8"})), to_address("8.8.4.4")));

  EgressRequest denied = e2b(true, targets({"8.8.8.8"}), targets({"8.8.0.0/16"}));
  EXPECT_TRUE(reaches(denied, to_name("example.com")));
  EXPECT_TRUE(reaches(denied, to_address("8.8.8.8")));
  EXPECT_FALSE(reaches(denied, to_address("8.8.4.4")));
  EXPECT_FALSE(reaches(e2b({}, {}, targets({"8.8.0.0/16"})), to_address("8.8.4.4")));
  EXPECT_TRUE(reaches(e2b({}, {}, targets({"8.8.0.0/16"})), to_address("1.1.1.1")));
  EXPECT_TRUE(reaches(e2b(true, {}, targets({"0.0.0.0/0:25"})), to_name("example.com")));
  EXPECT_FALSE(reaches(e2b(true, {}, targets({"0.0.0.0/0:25"})), to_name("example.com", 25)));
}

TEST(Plan, E2bsFieldsAreCutDownWithoutAWord) {
  EgressPlatform platform;
  platform.ceiling = EgressLevel::allow;
  platform.allow = targets({"pypi.org", "*.example.com"});
  EgressPolicy policy = policy_of(platform, Label::public_data, e2b(true));
  EXPECT_TRUE(may_connect(policy, to_name("pypi.org")).allowed);
  EXPECT_EQ(may_connect(policy, to_name("evil.com")).rule, "platform.allow");
  policy = policy_of(platform, Label::public_data,
                     e2b(true, targets({"pypi.org", "evil.com"}), targets({"0.0.0.0/0"})));
  EXPECT_TRUE(may_connect(policy, to_name("pypi.org")).allowed);
  EXPECT_FALSE(may_connect(policy, to_name("evil.com")).allowed);
  EXPECT_FALSE(may_connect(policy, to_name("a.example.com")).allowed) << "not asked for";
}

TEST(Plan, AskingByLevelForMoreIsRefusedWithTheRule) {
  EgressPlatform platform;
  auto decide = [&](Label label, const EgressRequest& request) {
    return plan_egress(platform, label, request).decision;
  };
  EgressRequest list = ours(EgressLevel::allow, targets({"example.com"}));
  EXPECT_EQ(decide(Label::public_data, ours(EgressLevel::internet)).rule, "platform.ceiling");
  EXPECT_EQ(decide(Label::public_data, list).rule, "platform.ceiling");
  EXPECT_EQ(decide(Label::secret, ours(EgressLevel::internet)).rule, "label.secret");
  EXPECT_TRUE(decide(Label::secret, ours(EgressLevel::none)).allowed);

  platform.ceiling = EgressLevel::allow;
  platform.allow = targets({"pypi.org"});
  EXPECT_EQ(decide(Label::public_data, ours(EgressLevel::internet)).explanation(),
            "boxes may reach only what a list names here; ask for level \"allow\" with a list, or "
            "have the operator raise [egress] ceiling");
  EXPECT_EQ(decide(Label::public_data, list).explanation(),
            "example.com is not on the operator's list; leave it out, or have the operator put it "
            "on [egress] allow");
  EXPECT_TRUE(
      decide(Label::public_data, ours(EgressLevel::allow, targets({"pypi.org:443"}))).allowed);

  platform = open_platform();
  platform.deny = targets({"*.example.com", "example.com"});
  EXPECT_EQ(decide(Label::public_data, list).rule, "platform.deny");
  platform.deny = targets({"example.com:25"});
  EXPECT_TRUE(decide(Label::public_data, list).allowed) << "but for a port";

  EgressRequest both = ours(EgressLevel::internet);
  both.allow_internet_access = true;
  EXPECT_TRUE(decide(Label::public_data, both).allowed);
  both.allow_internet_access = false;
  EXPECT_EQ(decide(Label::public_data, both).rule, "request.level");
}

TEST(Plan, ByLevelWhatIsDeniedBeatsWhatIsAllowed) {
  EgressPolicy policy = policy_of(
      open_platform(), Label::public_data,
      ours(EgressLevel::allow, targets({"*.example.com"}), targets({"a.example.com"})));
  EXPECT_TRUE(may_connect(policy, to_name("b.example.com")).allowed);
  EXPECT_FALSE(may_connect(policy, to_name("a.example.com")).allowed);
}

TEST(Plan, OurWordsAndE2bsFieldsMustAgree) {
  EgressRequest own = ours(EgressLevel::allow, targets({"a.example", "b.example"}));
  auto reaches = [&](const char* name) {
    return may_connect(policy_of(open_platform(), Label::internal, own), to_name(name)).allowed;
  };
  own.allow_internet_access = true;
  EXPECT_TRUE(reaches("a.example")) << "SDKs say that unasked";
  own.allow_out = targets({"0.0.0.0/0"});
  EXPECT_TRUE(reaches("a.example"));
  EXPECT_FALSE(reaches("c.example"));
  own.allow_out = targets({"b.example", "c.example"});
  own.deny_out = targets({"0.0.0.0/0"});
  EXPECT_FALSE(reaches("a.example"));
  EXPECT_TRUE(reaches("b.example"));
  EXPECT_FALSE(reaches("c.example"));
  own.allow_out.clear();
  own.deny_out.clear();
  own.allow_internet_access = false;
  EXPECT_FALSE(reaches("a.example"));

  EgressRequest denied;
  denied.own_deny = targets({"a.example"});
  auto gets = [&](const char* name) {
    return may_connect(policy_of(open_platform(), Label::public_data, denied), to_name(name))
        .allowed;
  };
  EXPECT_FALSE(gets("b.example")) << "the standard";
  denied.allow_internet_access = true;
  EXPECT_TRUE(gets("b.example"));
  EXPECT_FALSE(gets("a.example"));
  denied.allow_out = targets({"a.example"});
  EXPECT_FALSE(gets("a.example"));
}

TEST(Plan, WhatIsRefusedIsPlannedCutDown) {
  EgressRequest request = ours(EgressLevel::allow, targets({"example.com"}));
  EgressPlan plan = plan_egress(open_platform(), Label::confidential, request);
  EXPECT_FALSE(plan.decision.allowed);
  EXPECT_EQ(may_connect(plan.policy, to_name("example.com")).rule, "label confidential.level");
}

TEST(Plan, InternalDataLeavesByAListOnly) {
  EgressPlatform platform = open_platform();
  auto plan = [&](const EgressRequest& request) {
    return plan_egress(platform, Label::internal, request);
  };
  EgressPolicy listed = plan(ours(EgressLevel::allow, targets({"*.example.com"}))).policy;
  EXPECT_TRUE(may_connect(listed, to_name("a.example.com")).allowed);
  EXPECT_FALSE(may_connect(listed, to_name("example.org")).allowed);
  EXPECT_EQ(layer_names(listed), (Names{"platform", "request"}));
  EXPECT_TRUE(may_connect(plan(e2b(false, targets({"example.com"}))).policy, to_name("example.com"))
                  .allowed);

  Decision internet = plan(ours(EgressLevel::internet)).decision;
  EXPECT_EQ(internet.rule, "label.internal");
  EXPECT_EQ(internet.explanation(),
            "internal data may reach only what a list names; ask for level \"allow\" with a list, "
            "or have the operator raise [labels] internal");
  EgressPolicy cut = plan(e2b(true)).policy;
  EXPECT_EQ(layer_names(cut), (Names{"platform", "label internal", "request"}));
  Decision decision = may_connect(cut, to_name("example.com"));
  EXPECT_EQ(decision.rule, "label internal.allow");
  EXPECT_EQ(decision.remedy, "ask for it by a list that names it");
}

TEST(Plan, AListOfTheInternetIsNoList) {
  for (const char* wide : {"*", "*:443", "*.com", "0.0.0.0/0", "128.0.0.0/1", "[2000::]/3"}) {
    EgressRequest request = ours(EgressLevel::allow, targets({"example.com", wide}));
    EXPECT_EQ(plan_egress(open_platform(), Label::internal, request).decision.rule,
              "label.internal")
        << wide;
    EXPECT_TRUE(plan_egress(open_platform(), Label::public_data, request).decision.allowed);
    EgressPolicy cut = policy_of(open_platform(), Label::internal,
                                 e2b(false, targets({"example.com", wide})));
    EXPECT_TRUE(may_connect(cut, to_name("example.com")).allowed);
    EXPECT_FALSE(may_connect(cut, to_name("evil.com")).allowed) << wide;
    EXPECT_FALSE(may_connect(cut, to_address("203.1.1.1")).allowed) << wide;
  }
}

TEST(Plan, ForInternalDataTheOperatorsListCounts) {
  EgressPlatform platform = open_platform();
  platform.standard = EgressLevel::allow;
  platform.allow = targets({"*.com"});
  for (const EgressRequest& request :
       {EgressRequest(), e2b(true), ours(EgressLevel::allow, targets({"*.com"}))}) {
    EgressPolicy policy = policy_of(platform, Label::internal, request);
    EXPECT_TRUE(may_connect(policy, to_name("example.com")).allowed);
    EXPECT_FALSE(may_connect(policy, to_name("example.org")).allowed);
  }
  platform.labels[size_t(Label::internal)].allow = targets({"git.example.com"});
  EgressPolicy policy = policy_of(platform, Label::internal, e2b(true));
  EXPECT_TRUE(may_connect(policy, to_name("git.example.com")).allowed);
  EXPECT_EQ(may_connect(policy, to_name("example.com")).rule, "label internal.allow");
  EXPECT_EQ(plan_egress(platform, Label::internal, ours(EgressLevel::allow, targets({"a.com"})))
                .decision.explanation(),
            "a.com is not on the list for internal data; leave it out, or have the operator put it "
            "on [labels] internal_allow");
}

TEST(Plan, ConfidentialDataReachesWhatIsListedForIt) {
  EgressPlatform platform = open_platform();
  platform.labels[size_t(Label::confidential)] = {EgressLevel::allow, targets({"models.corp"})};
  for (Label label : {Label::internal, Label::confidential}) {
    for (const EgressRequest& request :
         {e2b(true), ours(EgressLevel::allow, targets({"models.corp"}))}) {
      EgressPolicy policy = policy_of(platform, label, request);
      EXPECT_TRUE(may_connect(policy, to_name("models.corp")).allowed) << to_string(label);
      EXPECT_FALSE(may_connect(policy, to_name("example.com")).allowed);
    }
  }
  EXPECT_FALSE(may_connect(policy_of(platform, Label::secret, e2b(true)), to_name("models.corp"))
                   .allowed);
  platform.labels[size_t(Label::confidential)].allow.clear();
  EgressPolicy policy = policy_of(platform, Label::confidential,
                                  e2b(true, targets({"example.com"}), targets({"0.0.0.0/0"})));
  EXPECT_EQ(may_connect(policy, to_name("example.com")).rule, "label confidential.level")
      << "no list is not any list here";
}

TEST(Plan, LabelsLeaveServersOfModelsOpen) {
  EgressPlatform platform = open_platform();
  platform.brokered = {{targets({"model.corp:443"})[0], Label::secret},
                       {targets({"cloud.corp:443"})[0], Label::confidential}};
  auto asked = ours(EgressLevel::allow, targets({"model.corp:443"}));
  for (Label label : {Label::public_data, Label::internal, Label::confidential, Label::secret}) {
    EXPECT_TRUE(plan_egress(platform, label, asked).decision.allowed) << to_string(label);
    for (const EgressRequest& request : {e2b(true), asked}) {
      EgressPolicy policy = policy_of(platform, label, request);
      EXPECT_TRUE(may_connect(policy, to_name("model.corp")).allowed) << to_string(label);
      Destination other = to_name("model.corp");
      other.port = 80;
      if (label > Label::internal) {
        EXPECT_FALSE(may_connect(policy, other).allowed);
        EXPECT_FALSE(may_connect(policy, to_name("example.com")).allowed);
      }
    }
  }
  // Not of data that is more confidential than it may be there.
  EXPECT_TRUE(may_connect(policy_of(platform, Label::confidential, e2b(true)), to_name("cloud.corp"))
                  .allowed);
  EXPECT_FALSE(
      may_connect(policy_of(platform, Label::secret, e2b(true)), to_name("cloud.corp")).allowed);
  // Beside what the operator lists, and no more than that.
  platform.labels[size_t(Label::confidential)] = {EgressLevel::allow, targets({"git.corp"})};
  EgressPolicy listed = policy_of(platform, Label::confidential, e2b(true));
  EXPECT_TRUE(may_connect(listed, to_name("git.corp")).allowed);
  EXPECT_TRUE(may_connect(listed, to_name("model.corp")).allowed);
  EXPECT_FALSE(may_connect(policy_of(platform, Label::secret, e2b(true)), to_name("git.corp")).allowed);
  // The internet is still refused, and so is everything where the platform or the request says so.
  EXPECT_EQ(plan_egress(platform, Label::secret, ours(EgressLevel::internet)).decision.rule, "label.secret");
  EXPECT_EQ(plan_egress(platform, Label::secret, ours(EgressLevel::allow, targets({"a.com"})))
                .decision.explanation(),
            "a.com is not on the list for secret data; leave it out, or have the operator put it on "
            "[labels] secret_allow");
  EXPECT_FALSE(may_connect(policy_of(platform, Label::secret, ours(EgressLevel::none)),
                           to_name("model.corp"))
                   .allowed);
  platform.ceiling = EgressLevel::none;
  EXPECT_FALSE(may_connect(policy_of(platform, Label::secret, e2b(true)), to_name("model.corp")).allowed);
}

TEST(Plan, CarriesWhatTheOperatorSets) {
  EgressPlatform platform = open_platform();
  platform.private_networks = targets({"10.0.0.0/8"});
  platform.deny = targets({"evil.com"});
  platform.limits.connections = 7;
  EgressRequest request = e2b(true);
  request.https_ports = {8443};
  EgressPolicy policy = policy_of(platform, Label::public_data, request);
  EXPECT_EQ(policy.private_networks, platform.private_networks);
  EXPECT_EQ(policy.limits, platform.limits);
  EXPECT_EQ(policy.tls_ports, (std::set<uint16_t>{443, 8443}));
  EXPECT_EQ(may_connect(policy, to_name("evil.com")).rule, "platform.deny evil.com");
  EXPECT_TRUE(policy.links.empty());
}

EgressCeilings ceilings(EgressLayer of_key, std::optional<int64_t> bytes = {}) {
  of_key.name = "key k1";
  return {{layer("tenant acme", EgressLevel::internet), std::move(of_key)}, bytes};
}

TEST(Ceilings, StandBetweenTheLabelAndTheRequest) {
  EgressPlan plan = plan_egress(open_platform(), Label::internal, e2b(true),
                                ceilings(layer("", EgressLevel::none)));
  EXPECT_TRUE(plan.decision.allowed);
  EXPECT_EQ(layer_names(plan.policy),
            (Names{"platform", "label internal", "tenant acme", "key k1", "request"}));
}

TEST(Ceilings, WhatE2bsClientsAskForIsCutDown) {
  EgressCeilings list = ceilings(layer("", EgressLevel::allow, targets({"*.example.com:443"})));
  for (const EgressRequest& request : {e2b(true), e2b(false, targets({"*.com", "*.org"}))}) {
    EgressPlan plan = plan_egress(open_platform(), Label::public_data, request, list);
    EXPECT_TRUE(plan.decision.allowed);
    EXPECT_TRUE(may_connect(plan.policy, to_name("a.example.com")).allowed);
    Decision denied = may_connect(plan.policy, to_name("a.org"));
    EXPECT_EQ(denied.rule, "key k1.allow");
    EXPECT_NE(denied.remedy.find("use a key or token that may let boxes reach it"),
              std::string::npos);
  }
}

TEST(Ceilings, AskingForMoreByLevelIsRefused) {
  auto asked = [](const EgressRequest& request, EgressLayer of_key) {
    return plan_egress(open_platform(), Label::public_data, request, ceilings(std::move(of_key)))
        .decision;
  };
  EgressLayer list = layer("", EgressLevel::allow, targets({"*.example.com:443"}));
  EXPECT_EQ(asked(ours(EgressLevel::internet), list).rule, "key k1.egress");
  EXPECT_EQ(asked(ours(EgressLevel::internet), list).explanation(),
            "key k1 may let boxes reach only what a list names; ask for level \"allow\" with a "
            "list, or use a key or token that may ask for it");
  EXPECT_EQ(asked(ours(EgressLevel::allow, targets({"a.example.com"})), list).explanation(),
            "a.example.com is not on the list of key k1; leave it out, or use a key or token that "
            "may ask for it");
  EXPECT_TRUE(asked(ours(EgressLevel::allow, targets({"a.example.com:443"})), list).allowed);
  EXPECT_TRUE(asked(ours(EgressLevel::none), list).allowed);
  EgressLayer none = layer("", EgressLevel::none);
  EXPECT_EQ(asked(ours(EgressLevel::allow, targets({"a.com"})), none).rule, "key k1.egress");
  EXPECT_TRUE(asked(ours(EgressLevel::none), none).allowed);
  EgressLayer but = layer("", EgressLevel::internet, {}, targets({"*.evil.com"}));
  EXPECT_EQ(asked(ours(EgressLevel::allow, targets({"a.evil.com"})), but).rule, "key k1.egress");
  EXPECT_TRUE(asked(ours(EgressLevel::internet), but).allowed);
}

TEST(Ceilings, ThePlatformAndTheLabelExplainFirst) {
  EgressCeilings none = ceilings(layer("", EgressLevel::none));
  EgressRequest request = ours(EgressLevel::internet);
  EXPECT_EQ(plan_egress(EgressPlatform(), Label::public_data, request, none).decision.rule,
            "platform.ceiling");
  EXPECT_EQ(plan_egress(open_platform(), Label::secret, request, none).decision.rule,
            "label.secret");
}

TEST(Ceilings, AListOfAKeyIsNoListOfTheRequest) {
  // Internal data goes where a list of the request leads; this request has none.
  EgressPlan plan = plan_egress(open_platform(), Label::internal, e2b(true),
                                ceilings(layer("", EgressLevel::allow, targets({"a.com"}))));
  EXPECT_EQ(may_connect(plan.policy, to_name("a.com")).rule, "label internal.allow");
}

TEST(Ceilings, TheFewestBytesCount) {
  auto total = [](int64_t platforms, std::optional<int64_t> bytes) {
    EgressPlatform platform = open_platform();
    platform.limits.bytes_total = platforms;
    return plan_egress(platform, Label::public_data, {},
                       ceilings(layer("", EgressLevel::internet), bytes))
        .policy.limits.bytes_total;
  };
  EXPECT_EQ(total(0, {}), 0);
  EXPECT_EQ(total(0, 5), 5);
  EXPECT_EQ(total(7, 5), 5);
  EXPECT_EQ(total(3, 5), 3);
  EXPECT_EQ(total(3, {}), 3);
  // 0 would be no limit.
  EXPECT_EQ(total(0, 0), 1);
  EXPECT_EQ(total(7, -1), 1);
}

}  // namespace
}  // namespace hako::policy
