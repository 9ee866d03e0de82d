// What requests say of secrets, who may use which, and E2B's rules for headers.
#include "api/secret_request.h"

#include <gtest/gtest.h>

#include "api/rule_headers.h"

namespace hako::api {
namespace {

namespace json = boost::json;
using policy::InterceptedHost;
using store::SecretRecord;

const std::string kValue = "sk-ant-api03-of-some-length";

Result<SecretRequest> new_secret(const std::string& members) {
  return parse_new_secret(R"({"name":"a","value":")" + kValue + "\"" +
                          (members.empty() ? "" : "," + members) + "}");
}

SecretRecord record_of(const std::string& members) {
  SecretRecord record;
  record.id = "sec_1";
  record.tenant = "acme";
  apply(new_secret(members).value(), record);
  return record;
}

TEST(SecretRequest, IsReadAsItIsWritten) {
  auto record = record_of(
      R"("hosts":["API.example.com","git.example.com:443,8443"],"env":"KEY","label":"internal",)"
      R"("use":[{"kind":"header","header":"x-api-key","template":"Key {}"},{"kind":"basic",)"
      R"("user":"git"}],"grants":[{"agent":"build/a"},{"box":"i1"}],"metadata":{"k":"v"})");
  EXPECT_EQ(hosts_of(record), (std::vector<InterceptedHost>{{"api.example.com", {443}},
                                                            {"git.example.com", {443, 8443}}}));
  auto uses = uses_of(record);
  ASSERT_EQ(uses.size(), 2u);
  EXPECT_EQ(uses[0].kind, SecretUse::Kind::header);
  EXPECT_EQ(uses[0].form, "Key {}");
  EXPECT_EQ(uses[1].kind, SecretUse::Kind::basic);
  EXPECT_EQ(uses[1].user, "git");
  auto grants = grants_of(record);
  ASSERT_EQ(grants.size(), 2u);
  EXPECT_EQ(grants[0].agent, "build/a");
  EXPECT_EQ(grants[1].box, "i1");
  auto shown = secret_json(record);
  EXPECT_EQ(shown.at("env"), "KEY");
  EXPECT_EQ(shown.at("label"), "internal");
  EXPECT_EQ(json::serialize(shown).find(kValue), std::string::npos);
}

TEST(SecretRequest, ProblemsNameTheMemberAndNeverTheValue) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"("hosts":["*.example.com"])", "hosts must be exact host names"},
      {R"("hosts":["10.0.0.1"])", "hosts must be"},
      {R"("hosts":["a.example","a.example:8443"])", "hosts must be"},
      {R"("hosts":["a.box"])", "hosts must be"},
      {R"("hosts":["a.example:1-60000"])", "hosts must be"},
      {R"("use":{"kind":"query"})", "use.kind must be header, bearer or basic"},
      {R"("use":{"kind":"bearer","header":"x"})", "use.header"},
      {R"("use":{"kind":"header"})", "use.header must be a header that clients may set"},
      {R"("use":{"kind":"header","header":"Host"})", "use.header must be"},
      {R"("use":{"kind":"header","header":"Content-Length"})", "use.header must be"},
      {R"("use":{"kind":"header","header":"a b"})", "use.header must be"},
      {R"("use":{"kind":"header","header":"x","template":"none"})", "use.template must be"},
      {R"("use":{"kind":"header","header":"x","template":"{}{}"})", "use.template must be"},
      {R"("use":{"kind":"header","header":"x","template":"a\n{}"})", "use.template must be"},
      {R"("use":{"kind":"basic","user":"a:b"})", "use.user must be"},
      {R"("use":[])", "use must be a list of 1 to 4"},
      {R"("env":"A=B")", "env must be the name of a variable"},
      {R"("env":"1A")", "env must be"},
      {R"("label":"topmost")", "label must be"},
      {R"("grants":[{}])", "grants.tenant or agent, or box must be there"},
      {R"("grants":[{"tenant":"a","box":"i"}])", "grants.tenant or agent"},
      {R"("grants":[{"agent":"/x"}])", "grants.agent must be"},
      {R"("grants":[{"everybody":true}])", "grants.everybody"},
      {R"("host":["a.example"])", "host"},
  };
  for (auto [members, message] : wrong) {
    auto request = new_secret(members);
    ASSERT_FALSE(request) << members;
    EXPECT_EQ(request.error().code(), ErrorCode::invalid_argument);
    EXPECT_NE(request.error().message().find(message), std::string::npos)
        << members << ": " << request.error().message();
    EXPECT_EQ(request.error().message().find(kValue), std::string::npos);
  }
  for (const char* value : {"short", "with\\nbreak-in-it", " blank-first", "blank-last ",
                            "with-\\u0000-in-it", "umlaut-\\u00e4-in-it"}) {
    auto request = parse_new_secret(R"({"name":"a","value":")" + std::string(value) + "\"}");
    ASSERT_FALSE(request) << value;
    EXPECT_EQ(request.error().message().find("blank-first"), std::string::npos);
  }
  for (const char* name : {"", "sec_1", "a b", "-a", "a/b", "../a"}) {
    auto request = parse_new_secret(R"({"name":")" + std::string(name) + R"(","value":"12345678"})");
    EXPECT_FALSE(request) << name;
  }
  EXPECT_EQ(new_secret("").value().name, "a");
  EXPECT_EQ(secret_name("Stripe.Live"), "stripe.live");
}

TEST(SecretRequest, WhatCannotBeReadMayBeUsedNowhere) {
  SecretRecord record = record_of("");
  record.tenant = "acme";
  for (const char* text : {"{", "[1]", "{}", "[\"\"]", "null"}) {
    record.hosts = record.use = record.grants = text;
    EXPECT_TRUE(hosts_of(record).empty()) << text;
    EXPECT_TRUE(uses_of(record).empty()) << text;
    EXPECT_TRUE(grants_of(record).empty()) << text;
  }
}

TEST(SecretRequest, AKindOfKeyIsUsedAsItUsuallyIs) {
  EXPECT_EQ(usual_uses("sk-ant-api03-x").front().header, "x-api-key");
  EXPECT_EQ(usual_uses("AIzaSy").front().header, "x-goog-api-key");
  EXPECT_EQ(usual_uses("ghp_x").front().kind, SecretUse::Kind::basic);
  EXPECT_EQ(usual_uses("sk-proj-x").front().kind, SecretUse::Kind::bearer);
}

store::SandboxRecord box(const char* tenant, const char* agent, const char* id,
                         const char* label = "public") {
  store::SandboxRecord record;
  record.tenant = tenant;
  record.agent = agent;
  record.id = id;
  record.label = label;
  return record;
}

TEST(MayUseSecret, AsItIsGranted) {
  SecretRecord secret = record_of(R"("grants":[{"tenant":"acme"}])");
  EXPECT_TRUE(may_use_secret(secret, box("acme", "", "i1")).allowed);
  EXPECT_TRUE(may_use_secret(secret, box("acme", "any/agent", "i1")).allowed);
  EXPECT_EQ(may_use_secret(secret, box("other", "", "i1")).rule, "secret.grant");
  secret = record_of(R"("grants":[{"tenant":"other"}])");
  EXPECT_TRUE(may_use_secret(secret, box("other", "", "i1")).allowed);
  EXPECT_FALSE(may_use_secret(secret, box("acme", "", "i1")).allowed);
  secret = record_of(R"("grants":[{"agent":"build/a"}])");
  EXPECT_TRUE(may_use_secret(secret, box("acme", "build/a", "i1")).allowed);
  EXPECT_TRUE(may_use_secret(secret, box("acme", "build/a/b", "i1")).allowed);
  EXPECT_FALSE(may_use_secret(secret, box("acme", "build", "i1")).allowed);
  EXPECT_FALSE(may_use_secret(secret, box("acme", "build/ab", "i1")).allowed);
  EXPECT_FALSE(may_use_secret(secret, box("acme", "", "i1")).allowed);
  EXPECT_FALSE(may_use_secret(secret, box("other", "build/a", "i1")).allowed)
      << "an agent of that name in another tenant";
  secret = record_of(R"("grants":[{"box":"i1"}])");
  EXPECT_TRUE(may_use_secret(secret, box("acme", "", "i1")).allowed);
  EXPECT_FALSE(may_use_secret(secret, box("acme", "", "i2")).allowed);
  EXPECT_FALSE(may_use_secret(secret, box("acme", "", "")).allowed);
  secret.grants = "";
  EXPECT_FALSE(may_use_secret(secret, box("acme", "", "i1")).allowed);
}

TEST(MayUseSecret, ByBoxesThatAreAsConfidential) {
  SecretRecord secret = record_of(R"("label":"internal","grants":[{"tenant":"acme"}])");
  EXPECT_EQ(may_use_secret(secret, box("acme", "", "i1", "public")).rule, "secret.label");
  EXPECT_TRUE(may_use_secret(secret, box("acme", "", "i1", "internal")).allowed);
  EXPECT_TRUE(may_use_secret(secret, box("acme", "", "i1", "secret")).allowed);
  secret.label = "unknown";
  EXPECT_FALSE(may_use_secret(secret, box("acme", "", "i1", "confidential")).allowed);
}

TEST(MayKeepSecret, NobodyGrantsBeyondWhatIsTheirs) {
  Principal who;
  who.tenant = "acme";
  who.clearance = policy::Label::internal;
  auto may = [&](SecretGrant grant, policy::Label label = policy::Label::public_data) {
    return may_keep_secret(who, {grant}, label).has_value();
  };
  EXPECT_TRUE(may({"acme", "", ""}));
  EXPECT_TRUE(may({"", "build/a", ""}));
  EXPECT_TRUE(may({"", "", "i1"}));
  EXPECT_FALSE(may({"other", "", ""}));
  EXPECT_TRUE(may({"acme", "", ""}, policy::Label::internal));
  EXPECT_FALSE(may({"acme", "", ""}, policy::Label::confidential));
  who.agent = "build/a";
  EXPECT_FALSE(may({"acme", "", ""}));
  EXPECT_FALSE(may({"", "build", ""}));
  EXPECT_FALSE(may({"", "", "i1"}));
  EXPECT_TRUE(may({"", "build/a", ""}));
  EXPECT_TRUE(may({"", "build/a/b", ""}));
  who.agent.clear();
  who.is_operator = true;
  EXPECT_TRUE(may({"other", "", ""}));
}

// ---- E2B's rules --------------------------------------------------------------------------------

TEST(Rules, AreTakenApart) {
  SandboxOptions options;
  options.network = json::parse(R"({"rules":{"a.example":[{"transform":{"headers":{"X-A":"1",
    "Authorization":"Bearer ${e2b.secrets.stripe}"}}}],"b.example":[{}],"c.example":[]}})")
                        .as_object();
  auto rules = rule_headers(options);
  ASSERT_EQ(rules.size(), 1u);
  EXPECT_EQ(rules[0].host, "a.example");
  ASSERT_EQ(rules[0].headers.size(), 2u);
  EXPECT_EQ(secrets_in(rules[0].headers[1].second).value(), std::vector<std::string>{"stripe"});
}

TEST(Rules, NameSecretsAndNothingElse) {
  EXPECT_TRUE(secrets_in("plain $ {text} ${x}").value().empty());
  EXPECT_EQ(secrets_in("${e2b.secrets.A}:${e2b.secrets.b-c}").value(),
            (std::vector<std::string>{"a", "b-c"}));
  EXPECT_EQ(secrets_in("${e2b.identity.tokens.aws}").error().code(), ErrorCode::unsupported);
  EXPECT_EQ(secrets_in("${e2b.secrets.open").error().code(), ErrorCode::unsupported);
  EXPECT_EQ(secrets_in("${e2b.secrets.}").error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(secrets_in("${e2b.secrets.${e2b.secrets.a}}").error().code(),
            ErrorCode::invalid_argument);
}

TEST(Rules, AreFilledInOnce) {
  auto value_of = [](const std::string& name) -> Result<std::string> {
    if (name == "gone") return Error(ErrorCode::not_found, "gone");
    return "<" + name + "${e2b.secrets.x}>";
  };
  EXPECT_EQ(fill_in("Bearer ${e2b.secrets.a}!", value_of).value(),
            "Bearer <a${e2b.secrets.x}>!")
      << "what a value holds is no reference";
  EXPECT_EQ(fill_in("none", value_of).value(), "none");
  EXPECT_FALSE(fill_in("${e2b.secrets.gone}", value_of));
  EXPECT_FALSE(fill_in("${e2b.secrets.a", value_of));
}

}  // namespace
}  // namespace hako::api
