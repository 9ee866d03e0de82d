// What layers of rules decide, and how they say so; the policy as JSON.
#include "policy/egress.h"

#include <gtest/gtest.h>

#include "policy/egress_json.h"
#include "policy_samples.h"

namespace hako::policy {
namespace {

using namespace test;

EgressPolicy of(std::vector<EgressLayer> layers) {
  EgressPolicy policy;
  policy.layers = std::move(layers);
  return policy;
}

const EgressPolicy kInternet = of({layer("platform", EgressLevel::internet)});

EgressPolicy listing(std::initializer_list<const char*> texts) {
  return of({layer("platform", EgressLevel::internet),
             layer("request", EgressLevel::allow, targets(texts))});
}

TEST(Words, AreReadAsTheyAreWritten) {
  for (EgressLevel level : {EgressLevel::none, EgressLevel::allow, EgressLevel::internet}) {
    EXPECT_EQ(egress_level_from(to_string(level)), level);
  }
  EXPECT_EQ(egress_level_from("all"), std::nullopt);
  for (Label label : kLabels) EXPECT_EQ(label_from(to_string(label)), label);
  EXPECT_EQ(label_from("Public"), std::nullopt);
  EXPECT_EQ(to_string(to_name("example.com", 80)), "example.com:80");
  EXPECT_EQ(to_string(to_address("::ffff:1.2.3.4", 80)), "1.2.3.4:80");
  EXPECT_EQ(to_string(to_address("2001:db8::1", 80)), "[2001:db8::1]:80");
  EXPECT_EQ(to_string(resolved("example.com", "1.1.1.1", 80)), "example.com:80");
}

TEST(MayConnect, WithoutLayersNothingPasses) {
  EXPECT_EQ(may_connect({}, to_name("example.com")).rule, "egress.none");
  EXPECT_EQ(may_connect({}, to_address("1.1.1.1")).rule, "egress.none");
  EXPECT_EQ(may_resolve({}, "example.com").rule, "egress.none");
}

TEST(MayConnect, TheInternetIsEveryPublicAddressByAnyName) {
  EXPECT_EQ(may_connect(kInternet, to_name("example.com")).rule, "platform.level");
  EXPECT_TRUE(may_connect(kInternet, to_name("example.com")).allowed);
  EXPECT_TRUE(may_connect(kInternet, to_address("1.1.1.1", 25)).allowed);
  EXPECT_TRUE(may_connect(kInternet, resolved("example.com", "1.1.1.1")).allowed);
  Decision bare = may_connect(kInternet, to_address("169.254.169.254", 80));
  EXPECT_EQ(bare.rule, "egress.private");
  EXPECT_EQ(bare.explanation(),
            "169.254.169.254 is not a public address; have the operator put it on [egress] "
            "private_networks");
  Decision rebound = may_connect(kInternet, resolved("example.com", "::ffff:127.0.0.1"));
  EXPECT_EQ(rebound.rule, "egress.private");
  EXPECT_EQ(rebound.reason,
            "example.com:443 has become ::ffff:127.0.0.1, which is not a public address");
}

TEST(MayConnect, OpenedNetworksAreOpenOnTheirPortsWhereTheLayersAgree) {
  EgressPolicy policy = kInternet;
  policy.private_networks = targets({"10.1.0.0/16:443"});
  EXPECT_TRUE(may_connect(policy, to_address("10.1.2.3")).allowed);
  EXPECT_TRUE(may_connect(policy, resolved("git.corp", "10.1.2.3")).allowed);
  EXPECT_FALSE(may_connect(policy, to_address("10.1.2.3", 80)).allowed);
  EXPECT_FALSE(may_connect(policy, to_address("10.2.2.3")).allowed);
  policy.layers.front().level = EgressLevel::allow;
  EXPECT_EQ(may_connect(policy, to_address("10.1.2.3")).rule, "platform.allow");
}

TEST(MayConnect, AListNamesWhatPasses) {
  EgressPolicy policy = listing({"example.com:443", "*.example.org", "8.8.8.0/24:53"});
  EXPECT_EQ(may_connect(policy, to_name("example.com")).rule, "request.allow example.com:443");
  EXPECT_TRUE(may_connect(policy, resolved("example.com", "1.1.1.1")).allowed);
  EXPECT_TRUE(may_connect(policy, to_name("a.example.org", 22)).allowed);
  EXPECT_TRUE(may_connect(policy, to_address("8.8.8.8", 53)).allowed);
  for (const Destination& to :
       {to_name("example.com", 80), to_name("example.org"), to_name("aexample.org"),
        to_name("evil.com"), to_address("8.8.8.8", 443), to_address("1.1.1.1"),
        to_address("2001:4860:4860::8888", 53)}) {
    EXPECT_EQ(may_connect(policy, to).rule, "request.allow") << to_string(to);
  }
  EXPECT_EQ(may_connect(policy, to_name("evil.com")).explanation(),
            "evil.com:443 is not on the list for the request; put it on the list that is asked "
            "for");
}

TEST(MayConnect, ANameIsNotResolvedToFindOutWhetherItsAddressIsListed) {
  EgressPolicy policy = listing({"8.8.8.0/24"});
  EXPECT_FALSE(may_connect(policy, to_name("data-in-a-name.evil.com")).allowed);
  EXPECT_FALSE(may_connect(policy, resolved("dns.google", "8.8.8.8")).allowed);
  EXPECT_FALSE(may_resolve(policy, "dns.google").allowed);
  EXPECT_TRUE(may_connect(policy, to_address("8.8.8.8")).allowed);
}

TEST(MayConnect, DenyListsGoOnTopAndBeatTheList) {
  EgressPolicy policy = of({layer("platform", EgressLevel::internet, {},
                                  targets({"*.evil.com", "9.9.9.0/24", "*:25"}))});
  EXPECT_EQ(may_connect(policy, to_name("a.evil.com")).rule, "platform.deny *.evil.com");
  EXPECT_EQ(may_connect(policy, resolved("good.com", "9.9.9.9")).rule, "platform.deny 9.9.9.0/24");
  EXPECT_EQ(may_connect(policy, to_address("9.9.9.9")).rule, "platform.deny 9.9.9.0/24");
  EXPECT_EQ(may_connect(policy, to_name("good.com", 25)).rule, "platform.deny *:25");
  EXPECT_TRUE(may_connect(policy, to_name("good.com")).allowed);
  EXPECT_EQ(may_connect(policy, to_name("a.evil.com")).explanation(),
            "a.evil.com:443 is denied by *.evil.com of the platform; have the operator take "
            "*.evil.com off [egress] deny");
  policy = of({layer("request", EgressLevel::allow, targets({"*.example.com"}),
                     targets({"a.example.com"}))});
  EXPECT_FALSE(may_connect(policy, to_name("a.example.com")).allowed);
  EXPECT_TRUE(may_connect(policy, to_name("b.example.com")).allowed);
}

TEST(MayConnect, DenyListsSeeTheAddressWithinAnAddress) {
  auto denying = of({layer("platform", EgressLevel::internet, {}, targets({"93.184.216.0/24:443"}))});
  for (const char* form : {"::ffff:93.184.216.34", "64:ff9b::93.184.216.34", "2002:5db8:d822::1"}) {
    EXPECT_FALSE(may_connect(denying, to_address(form)).allowed) << form;
    EXPECT_FALSE(may_connect(denying, resolved("example.com", form)).allowed) << form;
    EXPECT_TRUE(may_connect(denying, to_address(form, 80)).allowed) << form;
  }
  for (const char* other : {"64:ff9b::93.184.217.34", "2002:5db8:d922::1", "2a00:5db8:d822::1"})
    EXPECT_TRUE(may_connect(denying, to_address(other)).allowed) << other;
  // An allow list means what it says.
  auto listing_v4 = listing({"93.184.216.0/24"});
  EXPECT_TRUE(may_connect(listing_v4, to_address("::ffff:93.184.216.34")).allowed);
  for (const char* form : {"64:ff9b::93.184.216.34", "2002:5db8:d822::1"})
    EXPECT_FALSE(may_connect(listing_v4, to_address(form)).allowed) << form;
}

TEST(MayConnect, WithE2bsOrderAllowBeatsDeny) {
  EgressLayer request = layer("request", EgressLevel::internet, targets({"8.8.8.8", "a.evil.com"}),
                              targets({"8.8.0.0/16", "*.evil.com"}));
  request.allow_beats_deny = true;
  EgressPolicy policy = of({request});
  EXPECT_TRUE(may_connect(policy, to_address("8.8.8.8")).allowed);
  EXPECT_FALSE(may_connect(policy, to_address("8.8.4.4")).allowed);
  EXPECT_TRUE(may_connect(policy, resolved("dns.google", "8.8.8.8")).allowed);
  EXPECT_FALSE(may_connect(policy, resolved("dns.google", "8.8.4.4")).allowed);
  EXPECT_TRUE(may_connect(policy, resolved("a.evil.com", "8.8.4.4")).allowed);
  EXPECT_FALSE(may_connect(policy, resolved("b.evil.com", "8.8.8.8")).allowed)
      << "an address does not speak for a denied name";
}

TEST(MayConnect, EverythingMeansNamesToo) {
  EgressPolicy denied = of({layer("request", EgressLevel::internet, {}, targets({"0.0.0.0/0"}))});
  EXPECT_FALSE(may_connect(denied, to_name("example.com")).allowed);
  EXPECT_FALSE(may_resolve(denied, "example.com").allowed);
  EXPECT_FALSE(may_connect(denied, to_address("2606:4700::1")).allowed);
  EgressPolicy listed = listing({"0.0.0.0/0:443"});
  EXPECT_TRUE(may_connect(listed, to_name("example.com")).allowed);
  EXPECT_FALSE(may_connect(listed, to_name("example.com", 80)).allowed);
  EXPECT_FALSE(may_connect(listed, to_address("10.0.0.1")).allowed);
}

TEST(MayConnect, TheFirstLayerThatRefusesExplainsAndAllDoTheirPartOfTheRemedy) {
  EgressPolicy policy = of({layer("platform", EgressLevel::none),
                            layer("label confidential", EgressLevel::allow, targets({"a.corp"})),
                            layer("label internal", EgressLevel::allow),
                            layer("request", EgressLevel::none)});
  Decision decision = may_connect(policy, to_name("example.com"));
  EXPECT_EQ(decision.rule, "platform.level");
  EXPECT_EQ(decision.reason, "the platform lets nothing out");
  EXPECT_EQ(decision.remedy,
            "have the operator raise [egress] ceiling, and have the operator put it on [labels] "
            "confidential_allow, and ask for it by a list that names it, and ask for egress, as a "
            "list or as internet access");
  policy.layers.erase(policy.layers.begin());
  EXPECT_EQ(may_connect(policy, to_name("example.com")).rule, "label confidential.allow");
  EXPECT_EQ(may_connect(policy, to_name("example.com")).reason,
            "example.com:443 is not on the list for confidential data");
}

TEST(MayConnect, WhatIsNoNameIsRefusedOnOneLine) {
  for (const char* name : {"Example.com", "a..b", "a.b.", "1.2.3.4", "0x7f.1", "a b", "a\nb", "-."})
    EXPECT_EQ(may_connect(kInternet, to_name(name)).rule, "egress.name") << name;
  EXPECT_EQ(may_connect(kInternet, {}).rule, "egress.name");
  EXPECT_EQ(may_resolve(kInternet, "").rule, "egress.name");
  EXPECT_EQ(may_resolve(kInternet, "a\nb").reason, "\"a?b\" is not a name that can exist");
}

TEST(MayResolve, NamesThatSomePortMightAllow) {
  EgressPolicy policy = listing({"example.com:443"});
  EXPECT_TRUE(may_resolve(policy, "example.com").allowed);
  EXPECT_FALSE(may_resolve(policy, "a.example.com").allowed);
  policy.layers.front().deny = targets({"example.com:80"});
  EXPECT_TRUE(may_resolve(policy, "example.com").allowed);
  policy.layers.front().deny = targets({"example.com"});
  EXPECT_EQ(may_resolve(policy, "example.com").rule, "platform.deny example.com");
}

TEST(MayResolve, LinksHaveNames) {
  EgressPolicy policy;
  policy.links = {{"target.box", "b1", 8080}};
  EXPECT_EQ(may_resolve(policy, "target.box").rule, "link");
  EXPECT_TRUE(may_resolve(policy, "target.box").allowed);
  EXPECT_EQ(may_resolve(policy, "other.box").rule, "egress.link");
  EXPECT_FALSE(may_connect(policy, to_name("target.box", 8080)).allowed) << "not asked about here";
  // There is a .box outside, too: what was a link must not become a stranger.
  policy.layers = {{.name = "request", .level = EgressLevel::internet}};
  EXPECT_EQ(may_connect(policy, to_name("other.box", 8080)).rule, "egress.link");
  EXPECT_TRUE(may_resolve(policy, "other.boxes").allowed);
}

TEST(MustAgree, WhereTheAnswerHangsOnTheName) {
  EXPECT_FALSE(must_agree(kInternet, to_name("example.com")));
  EXPECT_FALSE(must_agree(kInternet, to_address("1.1.1.1")));
  EgressPolicy list = listing({"example.com", "1.1.1.1"});
  EXPECT_TRUE(must_agree(list, to_name("example.com")));
  EXPECT_TRUE(must_agree(list, resolved("example.com", "1.1.1.1")));
  EXPECT_FALSE(must_agree(list, to_address("1.1.1.1"))) << "no name was needed";
  EXPECT_FALSE(must_agree(listing({"0.0.0.0/0", "example.com"}), to_name("example.com")));
  EXPECT_TRUE(must_agree(listing({"*"}), to_name("example.com")));
}

TEST(MustAgree, WhereNamesAreDenied) {
  EgressPolicy policy =
      of({layer("platform", EgressLevel::internet, {}, targets({"evil.com:443", "9.9.9.9"}))});
  EXPECT_TRUE(must_agree(policy, to_name("good.com")));
  EXPECT_TRUE(must_agree(policy, to_address("1.1.1.1"))) << "it could be evil.com's";
  EXPECT_FALSE(must_agree(policy, to_name("good.com", 80)));
  EgressLayer request = layer("request", EgressLevel::internet, targets({"a.com"}),
                              targets({"9.9.9.9"}));
  request.allow_beats_deny = true;
  EXPECT_TRUE(must_agree(of({request}), to_name("a.com"))) << "else its address may be denied";
  EXPECT_FALSE(must_agree(of({request}), to_name("b.com")));
}

TEST(MustIntercept, IsAskedByExactNameAndPort) {
  EgressPolicy policy = kInternet;
  policy.intercept = {{"api.example.com", {443, 8443}}};
  EXPECT_TRUE(must_intercept(policy, "api.example.com", 443));
  EXPECT_TRUE(must_intercept(policy, "api.example.com", 8443));
  EXPECT_FALSE(must_intercept(policy, "api.example.com", 80));
  EXPECT_FALSE(must_intercept(policy, "www.api.example.com", 443));
  EXPECT_FALSE(must_intercept(policy, "example.com", 443));
  EXPECT_FALSE(must_intercept(policy, "", 443));
  EXPECT_FALSE(must_intercept(kInternet, "api.example.com", 443));
}

Result<EgressPolicy> parsed(const char* text) {
  return parse_egress(boost::json::parse(text).as_object());
}

TEST(EgressJson, IsReadAsItIsWritten) {
  EgressPolicy policy = listing({"*.example.com:443,80-90", "[2001:db8::]/32", "*"});
  policy.layers.back().allow_beats_deny = true;
  policy.layers.front().deny = targets({"10.0.0.0/8"});
  policy.private_networks = targets({"10.1.0.0/16"});
  policy.links = {{"target.box", "b1", 8080}, {"db.box", "b2", 5432}};
  policy.intercept = {{"api.example.com", {443, 8443}}, {"git.example.com", {443}}};
  policy.tls_ports = {443, 8443};
  policy.limits = {1, 2, INT64_MAX, 4, 5};
  for (const EgressPolicy& each : {policy, EgressPolicy()}) {
    std::string text = boost::json::serialize(to_json(each));
    auto read = parsed(text.c_str());
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read.value(), each) << text;
  }
  policy.tls_ports.clear();
  EXPECT_EQ(parse_egress(to_json(policy)).value(), policy);
}

TEST(EgressJson, NothingIsTheEmptyPolicy) {
  EXPECT_EQ(parsed("{}").value(), EgressPolicy());
  EXPECT_EQ(parsed(R"({"layers":[{"name":"a","level":"none"}]})").value(),
            of({layer("a", EgressLevel::none)}));
}

TEST(EgressJson, ProblemsNameTheMember) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"layer":[]})", "\"layer\" is not a known member"},
      {R"({"layers":{}})", "\"layers\" must be a list of at most 128"},
      {R"({"layers":[1]})", "\"layers\" must be a list of objects"},
      {R"({"layers":[{}]})", "\"name\" must be a text of 1 to 128 printable"},
      {R"({"layers":[{"name":"a\nb","level":"none"}]})", "\"name\" must be a text of 1 to 128"},
      {R"({"layers":[{"name":"a"}]})", "\"level\" must be"},
      {R"({"layers":[{"name":"a","level":"all"}]})", "\"level\" must be none, allow or internet"},
      {R"({"layers":[{"name":"a","level":"none","x":1}]})", "\"x\" is not a known member"},
      {R"({"layers":[{"name":"a","level":"none","allow":[1]}]})", "\"allow\" must be a list of"},
      {R"({"layers":[{"name":"a","level":"none","deny":["a b"]}]})", "deny: \"a b\" is neither"},
      {R"({"layers":[{"name":"a","level":"none","allow_beats_deny":1}]})", "\"allow_beats_deny\""},
      {R"({"private_networks":"10.0.0.0/8"})", "\"private_networks\" must be a list"},
      {R"({"links":[{"name":"A.box","box":"b","port":1}]})", "\"name\" must be a name as in DNS"},
      {R"({"links":[{"name":"a.box","port":1}]})", "\"box\" must be"},
      {R"({"links":[{"name":"a.box","box":"b"}]})", "\"port\" must be a whole number"},
      {R"({"links":[{"name":"a.box","box":"b","port":0}]})", "\"port\" must be"},
      {R"({"links":[{"name":"a.box","box":"b","port":65536}]})", "\"port\" must be"},
      {R"({"intercept":["a.com"]})", "\"intercept\" must be a list of objects"},
      {R"({"intercept":[{"host":"A.com","ports":[443]}]})", "\"host\" must be a name as in DNS"},
      {R"({"intercept":[{"host":"*.a.com","ports":[443]}]})", "\"host\" must be a name as in"},
      {R"({"intercept":[{"host":"a.com"}]})", "\"ports\" must be a list of at least one"},
      {R"({"intercept":[{"host":"a.com","ports":[0]}]})", "\"ports\" must be a whole number"},
      {R"({"intercept":[{"host":"a.com","ports":[443],"key":"x"}]})", "\"key\" is not a known"},
      {R"({"intercept":[{"host":"a.com","ports":[1]},{"host":"a.com","ports":[2]}]})",
       "\"intercept\" must be a list that names each host once"},
      {R"({"tls_ports":[443.0]})", "\"tls_ports\" must be a whole number"},
      {R"({"limits":[]})", "\"limits\" must be an object"},
      {R"({"limits":{"connections":-1}})", "\"connections\" must be a whole number from 0"},
      {R"({"limits":{"bytes":1}})", "\"bytes\" is not a known member"},
      {R"({"limits":{"bytes_total":1e30}})", "\"bytes_total\" must be"},
  };
  for (auto [text, message] : wrong) {
    auto read = parsed(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(read.error().message().rfind(message, 0), 0u) << read.error().message();
  }
}

TEST(EgressJson, NothingGrowsWithoutBounds) {
  boost::json::array many(2049, "a.b");
  boost::json::object layer = {{"name", "a"}, {"level", "allow"}, {"allow", many}};
  boost::json::object fields = {{"layers", boost::json::array({layer})}};
  EXPECT_FALSE(parse_egress(fields));
  boost::json::object empty = {{"name", "a"}, {"level", "none"}};
  EXPECT_FALSE(parse_egress({{"layers", boost::json::array(129, empty)}}));
  EXPECT_FALSE(parse_egress({{"links", boost::json::array(65)}}));
  boost::json::array intercepted, ports;
  for (int i = 1; i <= 129; ++i) {
    boost::json::object host = {{"host", "h" + std::to_string(i) + ".example"}, {"ports", {443}}};
    intercepted.push_back(std::move(host));
  }
  EXPECT_FALSE(parse_egress({{"intercept", intercepted}}));
  intercepted.pop_back();
  EXPECT_TRUE(parse_egress({{"intercept", intercepted}}));
  for (int i = 1; i <= 17; ++i) ports.push_back(i);
  boost::json::object host = {{"host", "a.example"}, {"ports", ports}};
  EXPECT_FALSE(parse_egress({{"intercept", boost::json::array({host})}}));
}

}  // namespace
}  // namespace hako::policy
