// What requests ask for, and what they get.
#include <gtest/gtest.h>

#include "api/egress_log.h"
#include "api/egress_policy.h"
#include "api/policy_check.h"
#include "api/requests.h"
#include "api/upload_label.h"
#include "base/clock.h"
#include "support/run_task.h"

namespace hako::api {
namespace {

namespace json = boost::json;
using policy::EgressLevel;
using policy::Label;

template <class T>
std::string error_of(const Result<T>& result) {
  return result ? "no error" : result.error().message();
}

Result<CreateRequest> create(const std::string& members) {
  return parse_create(R"({"templateID":"base",)" + members + "}", Generation::v2);
}

policy::EgressPlatform open_platform() {
  policy::EgressPlatform platform;
  platform.ceiling = EgressLevel::internet;
  return platform;
}

TEST(EgressOptionsTest, BodyAndMetadataSayTheSame) {
  auto body = create(R"("label":"internal","egress":"allow","allow":["a.example:443","10.0.0.0/8"],
                        "deny":["b.example"])");
  auto metadata = create(R"("metadata":{"hako/label":"internal","hako/egress":"allow",
      "hako/allow":"a.example:443, 10.0.0.0/8","hako/deny":"b.example"})");
  ASSERT_TRUE(body) << error_of(body);
  ASSERT_TRUE(metadata) << error_of(metadata);
  EXPECT_EQ(body.value().label, Label::internal);
  EXPECT_EQ(metadata.value().label, Label::internal);
  EXPECT_EQ(body.value().options.egress, metadata.value().options.egress);
  EXPECT_EQ(body.value().options.egress.level, EgressLevel::allow);
  EXPECT_EQ(body.value().options.egress.allow.size(), 2u);
  EXPECT_EQ(parse_options(write_options(body.value().options)), body.value().options);
}

TEST(EgressOptionsTest, TheHigherLabelAndTheBodysListCount) {
  auto both = create(R"("label":"public","egress":"none",
      "metadata":{"hako/label":"secret","hako/egress":"internet"})");
  ASSERT_TRUE(both);
  EXPECT_EQ(both.value().label, Label::secret);
  EXPECT_EQ(both.value().options.egress.level, EgressLevel::none);
}

TEST(EgressOptionsTest, PortsInAListOfTargetsStayTogether) {
  auto parsed = create(R"("metadata":{"hako/allow":"192.0.2.1:80-90,443,a.example"})");
  ASSERT_TRUE(parsed) << error_of(parsed);
  EXPECT_EQ(parsed.value().options.egress.allow,
            (std::vector<std::string>{"192.0.2.1:80-90,443", "a.example"}));
}

TEST(EgressOptionsTest, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"("label":"top")", "label must be public"},
      {R"("metadata":{"hako/label":"Secret"})", "metadata.hako/label must be public"},
      {R"("egress":"all")", "egress must be none, allow or internet"},
      {R"("metadata":{"hako/egress":""})", "metadata.hako/egress must be none"},
      {R"("allow":["a b"])", "allow[0] is no target"},
      {R"("deny":[1])", "deny[0] must be a string"},
      {R"("metadata":{"hako/allow":"a.example,,b c"})", "metadata.hako/allow[1] is no target"},
  };
  for (const auto& [members, message] : kCases) {
    std::string error = error_of(create(members));
    EXPECT_NE(error.find(message), std::string::npos) << members << " gave " << error;
  }
}

TEST(EgressOptionsTest, AClientThatKnowsOnlyE2BCannotLoosenWhatIsOurs) {
  auto made = create(R"("egress":"none","network":{"denyOut":["10.0.0.0/8"]})");
  ASSERT_TRUE(made);
  auto changed = update_network(made.value().options, R"({"allowOut":["1.1.1.1"]})");
  ASSERT_TRUE(changed);
  EXPECT_FALSE(changed.value().in_our_words);
  EXPECT_EQ(changed.value().options.egress.level, EgressLevel::none);
  EXPECT_FALSE(changed.value().options.network.contains("denyOut"));
  changed = update_network(changed.value().options, R"({"egress":"allow","allow":["a.example"]})");
  ASSERT_TRUE(changed);
  EXPECT_TRUE(changed.value().in_our_words);
  EXPECT_EQ(changed.value().options.egress.level, EgressLevel::allow);
}

policy::EgressRequest request_of(const std::string& members) {
  auto parsed = create(members);
  EXPECT_TRUE(parsed) << error_of(parsed);
  auto request = egress_request(parsed.value().options);
  EXPECT_TRUE(request) << error_of(request);
  return request.value();
}

TEST(EgressRequestTest, BothKindsOfListsMustAgree) {
  auto request = request_of(R"("allow":["a.example:443"],"deny":["c.example"],
      "network":{"allowOut":["b.example"],"denyOut":["0.0.0.0/0"],"httpsPorts":[8443]})");
  EXPECT_EQ(request.level, EgressLevel::allow);
  EXPECT_EQ(request.own_allow.size(), 1u);
  EXPECT_EQ(request.own_deny.size(), 1u);
  EXPECT_EQ(request.allow_out.size(), 1u);
  EXPECT_EQ(request.deny_out.size(), 1u);
  EXPECT_EQ(request.https_ports, std::set<uint16_t>{8443});
  auto policy = policy::plan_egress(open_platform(), Label::public_data, request).policy;
  for (const char* name : {"a.example", "b.example", "c.example"}) {
    EXPECT_FALSE(policy::may_connect(policy, {.name = name, .port = 443}).allowed) << name;
  }
  EXPECT_EQ(request_of(R"("network":{"denyOut":["0.0.0.0/0"]})").deny_out.size(), 1u);
  EXPECT_EQ(request_of(R"("allow_internet_access":true)").level, std::nullopt);
}

TEST(EgressPolicyTest, WhatWasToGoThroughAProxyDoesNotGoWithout) {
  SandboxOptions options = create(R"("allow_internet_access":true)").value().options;
  auto reaches = [&] {
    auto policy = capped_policy(open_platform(), Label::public_data, options, {});
    return policy::may_connect(policy, {.name = "a.example", .port = 443}).allowed;
  };
  EXPECT_TRUE(reaches());
  options.network["egressProxy"] = json::object{{"address", "proxy.example:1"}};
  EXPECT_FALSE(reaches());
  auto changed = update_network(options, R"({"allow_internet_access":true})");
  ASSERT_TRUE(changed);
  options = changed.value().options;
  EXPECT_TRUE(reaches());
}

TEST(EgressPolicyTest, MoreThanTheLabelAllowsIsRefusedWithTheRule) {
  auto parsed = create(R"("label":"confidential","egress":"internet")");
  ASSERT_TRUE(parsed);
  auto plan = plan_sandbox(open_platform(), Label::confidential, parsed.value().options, {});
  ASSERT_TRUE(plan);
  EXPECT_FALSE(plan.value().decision.allowed);
  Error refused = refused_by(plan.value().decision);
  EXPECT_EQ(refused.code(), ErrorCode::permission_denied);
  EXPECT_NE(refused.message().find("(rule label.confidential)"), std::string::npos)
      << refused.message();
}

TEST(EgressPolicyTest, WhatWasGrantedIsCutDownWhenTheLabelRises) {
  auto options = create(R"("egress":"internet")").value().options;
  EXPECT_EQ(level_of(capped_policy(open_platform(), Label::public_data, options, {})),
            EgressLevel::internet);
  EXPECT_EQ(level_of(capped_policy(open_platform(), Label::confidential, options, {})),
            EgressLevel::none);
  options = create(R"("allow":["a.example","b.example"])").value().options;
  policy::EgressPlatform platform = open_platform();
  platform.labels[size_t(Label::confidential)].level = EgressLevel::allow;
  platform.labels[size_t(Label::confidential)].allow = {policy::parse_target("b.example").value()};
  auto capped = capped_policy(platform, Label::confidential, options, {});
  EXPECT_FALSE(policy::may_connect(capped, {.name = "a.example", .port = 443}).allowed);
  EXPECT_TRUE(policy::may_connect(capped, {.name = "b.example", .port = 443}).allowed);
}

/// No label, level or list makes a capped policy wider than the plan's own rules.
TEST(EgressPolicyTest, ARisenLabelNeverOpensAnything) {
  const policy::Destination kPlaces[] = {{.name = "a.example", .port = 443},
                                         {.name = "b.example", .port = 80}};
  for (EgressLevel ceiling : {EgressLevel::none, EgressLevel::allow, EgressLevel::internet}) {
    policy::EgressPlatform platform;
    platform.ceiling = ceiling;
    platform.allow = {policy::parse_target("a.example").value()};
    for (const char* members :
         {R"("timeout":1)", R"("egress":"none")", R"("egress":"internet")",
          R"("allow":["a.example","b.example"])", R"("allow_internet_access":true)",
          R"("network":{"allowOut":["b.example"],"denyOut":["0.0.0.0/0"]})"}) {
      auto options = create(members).value().options;
      for (Label low : policy::kLabels)
        for (Label high : policy::kLabels)
          for (const auto& place : kPlaces) {
            if (high < low) continue;
            bool before =
                policy::may_connect(capped_policy(platform, low, options, {}), place).allowed;
            bool after =
                policy::may_connect(capped_policy(platform, high, options, {}), place).allowed;
            EXPECT_TRUE(before || !after) << members << " " << to_string(low) << " -> "
                                          << to_string(high) << " " << place.name;
          }
    }
  }
}

TEST(EgressPolicyTest, WhatCannotBeReadLetsNothingOut) {
  for (const char* text : {"", "[]", "{", R"({"layers":1})"}) {
    EXPECT_EQ(read_policy(text), policy::EgressPolicy()) << text;
    EXPECT_EQ(shown_egress(read_policy(text)).at("level"), "none");
  }
  auto options = create(R"("allow":["a.example:443"])").value().options;
  auto policy = capped_policy(open_platform(), Label::public_data, options, {});
  EXPECT_EQ(read_policy(write_policy(policy)), policy);
  auto shown = shown_egress(policy);
  EXPECT_EQ(shown.at("level"), "allow");
  const json::array& layers = shown.at("layers").as_array();
  EXPECT_EQ(layers.back().at("name"), "request");
  EXPECT_EQ(layers.back().at("allow").at(0), "a.example:443");
}

policy::Decision ask(const std::string& members, const policy::EgressPlatform& platform) {
  auto question = parse_question("{" + members + "}");
  EXPECT_TRUE(question) << error_of(question);
  return answer_question(platform, question.value(), std::nullopt, {}).value();
}

TEST(PolicyCheck, ExplainsForAnImaginedSandbox) {
  const std::string kTo = R"(,"destination":{"name":"A.Example.","port":443})";
  EXPECT_TRUE(ask(R"("allow":["a.example"])" + kTo, open_platform()).allowed);
  auto closed = ask(R"("egress":"none")" + kTo, open_platform());
  EXPECT_FALSE(closed.allowed);
  EXPECT_FALSE(closed.remedy.empty());
  auto refused = ask(R"("label":"secret","egress":"internet")" + kTo, open_platform());
  EXPECT_EQ(refused.rule, "label.secret");
  auto private_one = ask(R"("egress":"internet","destination":{"address":"10.0.0.1","port":22})",
                         open_platform());
  EXPECT_EQ(private_one.rule, "egress.private");
}

TEST(PolicyCheck, KnowsTheLinksOfASandboxThatRuns) {
  store::SandboxRecord record;
  record.id = "ia";
  policy::EgressPolicy policy;
  add_links(policy, "ia", {{.id = "l", .from = "ia", .to = "ib", .port = 80, .name = "t.box"},
                           {.id = "m", .from = "ib", .to = "ia", .port = 80, .name = "u.box"}});
  record.egress = write_policy(policy);
  auto answer = [&](const std::string& text) {
    auto question = parse_question(text);
    EXPECT_TRUE(question) << error_of(question);
    return answer_question(open_platform(), question.value(), record, {}).value();
  };
  EXPECT_TRUE(answer(R"({"box":"ia","destination":{"name":"t.box","port":80}})").allowed);
  EXPECT_FALSE(answer(R"({"box":"ia","destination":{"name":"t.box","port":81}})").allowed);
  EXPECT_FALSE(answer(R"({"box":"ia","destination":{"name":"u.box","port":80}})").allowed);
  EXPECT_FALSE(
      answer(R"({"box":"ia","label":"internal","destination":{"name":"t.box","port":80}})")
          .allowed);
}

TEST(PolicyCheck, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> kCases[] = {
      {"{}", "destination is required"},
      {R"({"destination":{"port":1}})", "destination.name or an address is required"},
      {R"({"destination":{"name":"a","address":"1.1.1.1","port":1}})", "destination.name"},
      {R"({"destination":{"address":"x","port":1}})", "destination.address must be"},
      {R"({"destination":{"name":"a","port":0}})", "destination.port"},
      {R"({"box":"ia","egress":"none","destination":{"name":"a","port":1}})", "box cannot"},
  };
  for (const auto& [body, message] : kCases) {
    std::string error = error_of(parse_question(body));
    EXPECT_NE(error.find(message), std::string::npos) << body << " gave " << error;
  }
}

http::RequestHead upload(std::string target, std::string label = {}) {
  http::RequestHead head;
  head.method = http::Verb::post;
  head.target = std::move(target);
  head.fields.set("Host", "127.0.0.1:3000");
  head.fields.set("E2b-Sandbox-Id", "iabc");
  if (!label.empty()) head.fields.set("x-hako-label", label);
  return head;
}

TEST(UploadLabelTest, IsTakenOutOfTheRequest) {
  auto head = upload("/files?label=internal&path=%2Fa%26b&username=u", "secret");
  auto taken = take_upload_label(head);
  ASSERT_TRUE(taken && taken.value()) << error_of(taken);
  EXPECT_EQ(taken.value()->box, "iabc");
  EXPECT_EQ(taken.value()->label, Label::secret);
  EXPECT_EQ(head.target, "/files?path=%2Fa%26b&username=u");
  EXPECT_TRUE(head.header("X-Hako-Label").empty());
  auto only = upload("/files?label=internal");
  ASSERT_TRUE(take_upload_label(only));
  EXPECT_EQ(only.target, "/files");
  auto none = upload("/files?path=x");
  EXPECT_FALSE(take_upload_label(none).value());
}

TEST(UploadLabelTest, WhatCannotBeHonouredIsRefused) {
  for (const char* target : {"/files?label=", "/files?label=top", "/files?l%61bel=%zz"}) {
    auto head = upload(target);
    EXPECT_FALSE(take_upload_label(head)) << target;
  }
  auto elsewhere = upload("/process.Process/Start", "secret");
  EXPECT_FALSE(take_upload_label(elsewhere));
  auto service = upload("/files", "secret");
  service.fields.set("E2b-Sandbox-Port", "8080");
  EXPECT_FALSE(take_upload_label(service));
  auto nobody = upload("/files", "secret");
  nobody.fields.erase("E2b-Sandbox-Id");
  EXPECT_FALSE(take_upload_label(nobody));
  // A service of the box may mean something else by it.
  auto query = upload("/files?label=x");
  query.fields.set("E2b-Sandbox-Port", "8080");
  EXPECT_FALSE(take_upload_label(query).value());
  EXPECT_EQ(query.target, "/files?label=x");
}

EgressRecord named(std::string name) {
  EgressRecord record;
  record.name = std::move(name);
  return record;
}

TEST(EgressLogTest, KeepsTheLatestOfEachAndNumbersThemOn) {
  EgressLog log(1000);
  for (size_t i = 0; i < EgressLog::kMostRecords + 5; ++i) log.add("ia", named(std::to_string(i)));
  log.add("ib", named("other"));
  auto first = log.behind("ia", 0, 3);
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(first[0].name, "5");
  auto rest = log.behind("ia", first.back().sequence, 5000);
  EXPECT_EQ(rest.size(), EgressLog::kMostRecords - 3);
  EXPECT_EQ(rest.front().name, "8");
  EXPECT_TRUE(log.behind("ia", rest.back().sequence, 10).empty());
  // A server that was started later begins behind all of it.
  EgressLog later(to_unix_ms(WallClock::now()) + 1000);
  later.add("ia", named("new"));
  EXPECT_EQ(later.behind("ia", rest.back().sequence, 10).size(), 1u);
  // What happens in others does not show in one's own numbers.
  int64_t before = log.behind("ib", 0, 10).back().sequence;
  log.add("ia", named("more"));
  log.add("ib", named("next"));
  EXPECT_EQ(log.behind("ib", 0, 10).back().sequence, before + 1);
  log.drop("ia");
  EXPECT_TRUE(log.behind("ia", 0, 10).empty());
  EXPECT_EQ(log.behind("ib", 0, 10).size(), 2u);
}

TEST(EgressLogTest, RefusalsDoNotPushOutWhatHasPassed) {
  EgressLog log(0);
  EgressRecord allowed = named("allowed");
  allowed.connection = 7;
  log.add("ia", allowed);
  for (size_t i = 0; i < 2 * EgressLog::kMostRecords; ++i) log.add("ia", named(std::to_string(i)));
  auto kept = log.behind("ia", 0, 5000);
  ASSERT_EQ(kept.size(), EgressLog::kMostRecords);
  EXPECT_EQ(kept[0].name, "allowed");
  EXPECT_EQ(kept[1].name, std::to_string(EgressLog::kMostRecords + 1));
  for (size_t i = 0; i < 2 * EgressLog::kMostRecords; ++i) log.add("ia", allowed);
  kept = log.behind("ia", 0, 5000);
  ASSERT_EQ(kept.size(), EgressLog::kMostRecords);
  EXPECT_EQ(kept[0].name, "allowed");
}

TEST(EgressLogTest, IsBoundedInAll) {
  EgressLog log(0);
  size_t boxes = EgressLog::kMostInAll / EgressLog::kMostRecords + 20;
  size_t kept = 0;
  for (size_t box = 0; box < boxes; ++box)
    for (size_t i = 0; i < EgressLog::kMostRecords; ++i) log.add("i" + std::to_string(box), named(""));
  for (size_t box = 0; box < boxes; ++box) {
    kept += log.behind("i" + std::to_string(box), 0, EgressLog::kMostRecords).size();
  }
  EXPECT_LE(kept, EgressLog::kMostInAll);
  EXPECT_GT(kept, EgressLog::kMostInAll / 2);
}

Task<void> read_while_written(EgressLog& log) {
  asio::steady_timer soon(co_await asio::this_coro::executor, std::chrono::milliseconds(20));
  soon.async_wait([&](auto) { log.add("ia", named("late")); });
  auto waited = co_await log.wait_behind("ia", 0, 10, std::chrono::seconds(10));
  EXPECT_EQ(waited.size(), 1u);
  int64_t next = waited.empty() ? 0 : waited.back().sequence;
  auto none = co_await log.wait_behind("ia", next, 10, std::chrono::milliseconds(10));
  EXPECT_TRUE(none.empty());
  soon.expires_after(std::chrono::milliseconds(20));
  soon.async_wait([&](auto) { log.drop("ia"); });
  auto gone = co_await log.wait_behind("ia", next, 10, std::chrono::seconds(10));
  EXPECT_TRUE(gone.empty());
}

TEST(EgressLogTest, AReaderWaitsForWhatComes) {
  asio::io_context loop;
  EgressLog log(0);
  test::run_on(loop, read_while_written(log));
}

TEST(EgressLogTest, RecordsAreReadWithoutTrustingThem) {
  auto record = parse_record(json::parse(
      R"({"time_ms":1500,"kind":"tcp","name":"a\u001b[2J.example","port":443,"verdict":"denied",
          "rule":"request.allow","reason":"not on the list","bytes_out":1,"bytes_in":2,"count":3,
          "connection":4})"));
  ASSERT_TRUE(record) << error_of(record);
  auto shown = record_json(record.value());
  EXPECT_EQ(shown.at("name"), "a[2J.example");
  EXPECT_EQ(shown.at("timestamp"), "1970-01-01T00:00:01.500Z");
  EXPECT_EQ(shown.at("count"), 3);
  for (const char* lie : {"1", "[]", R"({"port":70000})", R"({"name":7})", R"({"bytes_in":-1})"}) {
    EXPECT_FALSE(parse_record(json::parse(lie))) << lie;
  }
}

}  // namespace
}  // namespace hako::api
