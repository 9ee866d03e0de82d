// What the API tells the audit log, and who reads it.
#include <algorithm>
#include <fstream>

#include "audit/line.h"
#include "audit/log.h"
#include "audit/segments.h"
#include "audit/verify.h"
#include "base/clock.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;

using ApiAuditTest = ApiFixture;

std::string text_of(const json::value& record, const char* name) {
  const json::value* value = record.as_object().if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : std::string();
}

/// The records that fit, the newest first.
Task<json::array> search(ApiLab& lab, std::string query, std::string key = {}) {
  std::string target = "/v1/audit?limit=1000&" + query;
  if (key.empty()) key = lab.key;
  auto reply = co_await lab.ask_with_key(Verb::get, target, "", key);
  EXPECT_EQ(reply.status, 200u) << reply.message();
  co_return reply.status == 200 ? reply.body.at("records").as_array() : json::array();
}

TEST_F(ApiAuditTest, CallsAreRecordedBeforeTheyAreAnswered) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes",
                                 R"({"templateID":"base","timeout":60,"envVars":{"A":"s3cr3t"}})");
    CO_ASSERT_TRUE(made.status == 201);
    std::string id = text_of(made.body, "sandboxID");
    // The very next thing to be done finds it.
    auto records = co_await search(lab, "action=sandbox.create");
    CO_ASSERT_TRUE(records.size() == 1);
    const json::value& record = records[0];
    EXPECT_EQ(text_of(record, "actor"), "operator");
    EXPECT_EQ(text_of(record, "tenant"), "default");
    EXPECT_EQ(text_of(record, "outcome"), "ok");
    EXPECT_EQ(text_of(record, "sandbox"), id);
    EXPECT_EQ(text_of(record, "source"), "127.0.0.1");
    EXPECT_EQ(text_of(record, "request"), std::string(made.fields["X-Request-Id"]));
    EXPECT_EQ(text_of(record.at("details"), "status"), "201");
    EXPECT_EQ(text_of(record.at("details"), "changes"), "templateID, timeout, envVars");
    EXPECT_EQ(json::serialize(records).find("s3cr3t"), std::string::npos);

    auto refused = co_await lab.ask(Verb::get, "/sandboxes/igone");
    EXPECT_EQ(refused.status, 404u);
    auto failed = co_await search(lab, "outcome=failed&sandbox=igone");
    CO_ASSERT_TRUE(failed.size() == 1);
    EXPECT_EQ(text_of(failed[0], "reason"), refused.message());
    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/sandboxes/" + id)).status, 204u);
    auto lifecycle = co_await search(lab, "action=box.&sandbox=" + id);
    CO_ASSERT_TRUE(lifecycle.size() == 2);
    EXPECT_EQ(text_of(lifecycle[1], "action"), "box.created");
    EXPECT_EQ(text_of(lifecycle[0], "action"), "box.destroyed");
  });
}

TEST_F(ApiAuditTest, NothingIsDoneOrAnsweredThatCannotBeTold) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto folder = lab.config.audit_dir();
    std::string path = audit::segment_path(folder, 1);
    std::string whole = read_file(path, 64 << 20).value();
    // Somebody else writes to it: from now on nothing chains.
    std::ofstream(path, std::ios::app) << "x\n";
    auto read = co_await lab.ask(Verb::get, "/v2/sandboxes");
    EXPECT_EQ(read.status, 503u);
    EXPECT_NE(read.message().find("audit log"), std::string::npos);
    EXPECT_FALSE(read.body.is_array());
    size_t calls = size_t(std::count(lab.node.calls.begin(), lab.node.calls.end(), "box.create"));
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
    EXPECT_EQ(made.status, 503u);
    EXPECT_EQ(size_t(std::count(lab.node.calls.begin(), lab.node.calls.end(), "box.create")),
              calls);
    EXPECT_EQ((co_await lab.ask(Verb::get, "/health")).status, 200u);
    // As it was again: it goes on.
    std::filesystem::resize_file(path, whole.size());
    bool ready = co_await lab.eventually_status("/v2/sandboxes", 200);
    EXPECT_TRUE(ready);
    made = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
    EXPECT_EQ(made.status, 201u);
    auto gaps = co_await search(lab, "action=audit.gap");
    EXPECT_FALSE(gaps.empty());
  });
}

TEST_F(ApiAuditTest, WhatTheGateTells) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    lab.node.tell_egress(id, json::parse(R"([{"time_ms":1700000000000,"kind":"dns",
        "name":"evil\u2028.example","verdict":"denied","rule":"platform.none","reason":"no",
        "count":3}])")
                                 .as_array());
    lab.node.tell_access(id, json::parse(R"([
        {"time_ms":1700000000000,"kind":"command","action":"start","verdict":"allowed",
         "key":"k1.ab12","user":"root","what":"/bin/sh -c 'echo --password=pw1'","detail":"/tmp"},
        {"time_ms":1700000000000,"kind":"file","action":"write","verdict":"denied","key":"",
         "what":"/etc/passwd","status":403,"reason":"no"},
        {"time_ms":"wrong"}, 7, {"time_ms":1,"kind":"command","verdict":"allowed",
         "what":7}])")
                                 .as_array());
    lab.node.tell_access("istranger", json::parse(R"([{"time_ms":1,"kind":"port","action":"reach",
        "verdict":"allowed","what":"80"}])")
                                          .as_array());
    std::vector<json::value> told;
    for (int i = 0; i < 100 && told.size() < 4; ++i) {
      auto all = co_await search(lab, "");
      told.clear();
      for (auto& record : all) {
        std::string action = text_of(record, "action");
        if (action.starts_with("egress.") || action.starts_with("command.") ||
            action.starts_with("file.") || action.starts_with("port.")) {
          told.push_back(record);
        }
      }
    }
    CO_ASSERT_TRUE(told.size() == 4);
    EXPECT_EQ(text_of(told[3], "actor"), "box " + id);
    EXPECT_EQ(text_of(told[3], "outcome"), "denied");
    EXPECT_EQ(text_of(told[3], "tenant"), "default");
    EXPECT_EQ(text_of(told[2], "actor"), "token k1.ab12");
    EXPECT_EQ(text_of(told[2].at("details"), "command"), "/bin/sh -c 'echo --password=***'");
    EXPECT_EQ(text_of(told[1], "outcome"), "denied");
    EXPECT_EQ(text_of(told[1].at("details"), "path"), "/etc/passwd");
    // Whose it is nobody knows.
    EXPECT_EQ(text_of(told[0], "tenant"), "");
    EXPECT_EQ(text_of(told[0], "label"), "secret");
  });
}

TEST_F(ApiAuditTest, EachReadsWhatIsTheirs) {
  with_api([](ApiLab& lab) -> Task<void> {
    (void)co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})");
    NewKey auditor =
        co_await make_key(lab, "acme", R"({"role":"auditor","policy":{"label":"public"}})");
    NewKey viewer = co_await make_key(lab, "acme", R"({"role":"viewer"})");
    std::string ours = co_await lab.create();
    auto made = co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes",
                                    R"({"templateID":"base","label":"confidential"})");
    CO_ASSERT_TRUE(made.status == 201);
    std::string theirs = text_of(made.body, "sandboxID");

    auto all = co_await search(lab, "");
    auto has = [](const json::array& records, const std::string& box) {
      return std::any_of(records.begin(), records.end(), [&](const json::value& record) {
        return text_of(record, "sandbox") == box;
      });
    };
    EXPECT_TRUE(has(all, ours) && has(all, theirs));
    auto of_one = co_await search(lab, "tenant=acme");
    EXPECT_TRUE(!has(of_one, ours) && has(of_one, theirs));

    auto seen = co_await search(lab, "", auditor.key);
    EXPECT_FALSE(seen.empty());
    bool withheld = false;
    for (const json::value& record : seen) {
      EXPECT_EQ(text_of(record, "tenant"), "acme");
      std::string label = text_of(record, "label");
      if (label != "confidential") continue;
      withheld = true;
      EXPECT_TRUE(record.at("withheld").as_bool());
      EXPECT_EQ(text_of(record, "sandbox"), "");
      EXPECT_FALSE(record.as_object().contains("details"));
    }
    EXPECT_TRUE(withheld);
    // Nor is it found by what is not shown.
    EXPECT_TRUE((co_await search(lab, "sandbox=" + theirs, auditor.key)).empty());
    EXPECT_TRUE((co_await search(lab, "text=" + theirs, auditor.key)).empty());
    EXPECT_FALSE((co_await search(lab, "sandbox=" + theirs)).empty());

    auto other = co_await lab.ask_with_key(Verb::get, "/v1/audit?tenant=default", "", auditor.key);
    auto none = co_await lab.ask_with_key(Verb::get, "/v1/audit?tenant=nobody", "", auditor.key);
    EXPECT_EQ(other.status, 404u);
    EXPECT_EQ(none.status, 404u);
    EXPECT_EQ((co_await lab.ask_with_key(Verb::get, "/v1/audit", "", viewer.key)).status, 403u);
    EXPECT_EQ((co_await lab.ask_with_key(Verb::get, "/v1/audit/head", "", auditor.key)).status,
              200u);
    for (std::string path :
         {"/v1/audit/segments", "/v1/audit/segments/audit-0000000000000001.jsonl"}) {
      EXPECT_EQ((co_await lab.ask_with_key(Verb::get, path, "", auditor.key)).status, 403u);
    }
    EXPECT_EQ((co_await lab.ask(Verb::get, "/v1/audit/segments")).status, 200u);
    EXPECT_EQ((co_await lab.ask(Verb::get, "/v1/audit/segments/..%2Faudit-key")).status, 404u);
  });
}

TEST_F(ApiAuditTest, PoliciesAndKeysByTheirNames) {
  with_api([](ApiLab& lab) -> Task<void> {
    (void)co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})");
    auto changed = co_await lab.ask(Verb::patch, "/v1/tenants/acme",
                                    R"({"policy":{"label":"internal"},"quota":{"boxes":3}})");
    EXPECT_EQ(changed.status, 200u) << changed.message();
    auto records = co_await search(lab, "action=tenant.update");
    CO_ASSERT_TRUE(records.size() == 1);
    EXPECT_EQ(text_of(records[0].at("details"), "changes"), "policy.label, quota.boxes");
    EXPECT_EQ(text_of(records[0].at("details"), "tenant"), "acme");
    NewKey key = co_await make_key(lab, "acme", R"({"role":"owner"})");
    (void)co_await lab.ask_with_key(Verb::get, "/v2/sandboxes", "", key.key);
    records = co_await search(lab, "actor=key%20" + key.id);
    CO_ASSERT_TRUE(records.size() == 1);
    std::string all = json::serialize(co_await search(lab, ""));
    EXPECT_EQ(all.find(key.key), std::string::npos);
  });
}

TEST_F(ApiAuditTest, AFloodOfNobodyIsCounted) {
  with_api([](ApiLab& lab) -> Task<void> {
    for (int i = 0; i < 200; ++i) {
      auto reply = co_await lab.ask_with_key(Verb::get, "/v2/sandboxes", "", "e2b_nothing");
      EXPECT_EQ(reply.status, 401u);
    }
    int64_t counted = 0;
    size_t single = 0;
    for (int i = 0; i < 100 && counted + int64_t(single) < 200; ++i) {
      counted = 0;
      for (const auto& record : co_await search(lab, "action=api.flood")) {
        counted += std::stoll(text_of(record.at("details"), "count"));
      }
      single = (co_await search(lab, "action=sandbox.list&outcome=denied")).size();
      co_await sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_EQ(counted + int64_t(single), 200);
    EXPECT_GT(counted, 0);
  });
}

TEST_F(ApiAuditTest, TimesThatCannotBeAreNotTakenAsTold) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    int64_t now = to_unix_ms(WallClock::now());
    auto tell = [&](std::string box, int64_t time_ms) {
      json::object record{{"time_ms", time_ms},     {"kind", "port"}, {"action", "reach"},
                          {"verdict", "allowed"}, {"what", "80"}};
      lab.node.tell_access(std::move(box), json::array{std::move(record)});
    };
    int64_t future = now + 3'600'000, before_it_was = now - 3'600'000, late = now - 60'000;
    tell(id, future);
    tell(id, before_it_was);
    tell(id, now);
    tell("istranger", late);  // nobody knows since when there is that
    json::array told;
    for (int i = 0; i < 100 && told.size() < 4; ++i) {
      told = co_await search(lab, "action=port.reach");
    }
    CO_ASSERT_TRUE(told.size() == 4);
    auto time_of = [&](size_t i) { return to_unix_ms(*from_rfc3339(text_of(told[i], "time"))); };
    auto detail = [&](size_t i, const char* name) { return text_of(told[i].at("details"), name); };
    for (size_t i : {2u, 3u}) {  // the newest comes first
      EXPECT_LT(std::abs(time_of(i) - now), 60'000) << i;
    }
    EXPECT_EQ(detail(3, "told_ms"), std::to_string(future));
    EXPECT_EQ(detail(2, "told_ms"), std::to_string(before_it_was));
    EXPECT_EQ(time_of(1), now);
    EXPECT_EQ(detail(1, "told_ms"), "");
    EXPECT_EQ(detail(1, "arrived"), "");
    EXPECT_EQ(time_of(0), late);
    EXPECT_NE(detail(0, "arrived"), "");
  });
}

/// How many calls and records there are of each, and how many more were left out.
Task<void> flood(ApiLab& lab, bool bounded) {
  std::string id = co_await lab.create();
  constexpr int kMany = 400;
  for (int i = 0; i < kMany; ++i) (void)co_await lab.ask(Verb::get, "/v1/links");
  json::array records;
  for (int i = 0; i < kMany; ++i) {
    records.push_back(json::object{{"time_ms", to_unix_ms(WallClock::now())},
                                   {"kind", "dns"},
                                   {"name", std::to_string(i) + std::string(200, 'a')},
                                   {"verdict", "denied"},
                                   {"rule", "r"},
                                   {"reason", "no"}});
  }
  lab.node.tell_egress(id, records);
  (void)co_await lab.create();
  auto sum = [&](std::string action) -> Task<int64_t> {
    auto single = co_await search(lab, "action=" + action);
    int64_t all = int64_t(single.size());
    if (bounded) {
      EXPECT_LT(all, kMany) << action;
    }
    for (const auto& record : co_await search(lab, "action=audit.left_out&text=" + action)) {
      EXPECT_EQ(text_of(record, "tenant"), "default");
      all += std::stoll(text_of(record.at("details"), "count"));
    }
    co_return all;
  };
  for (std::string action : {"link.list", "egress.dns"}) {
    int64_t all = 0;
    for (int i = 0; i < 200 && all < kMany; ++i) {
      all = co_await sum(action);
      if (all < kMany) co_await sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_EQ(all, kMany) << action;
  }
  // What changes something is never left out.
  EXPECT_EQ((co_await search(lab, "action=sandbox.create")).size(), 2u);
  EXPECT_EQ((co_await search(lab, "action=audit.left_out")).empty(), !bounded);
}

TEST_F(ApiAuditTest, OneTenantDoesNotFillIt) {
  lab_.config.audit_tenant_mib_per_day = 1;
  lab_.config.calls_per_second = 0;
  with_api([](ApiLab& lab) { return flood(lab, true); });
}

TEST_F(ApiAuditTest, WithoutTheBoundOneTenantWould) {
  lab_.config.audit_tenant_mib_per_day = 0;
  lab_.config.calls_per_second = 0;
  with_api([](ApiLab& lab) { return flood(lab, false); });
}

/// Some segments of an earlier time, with the keys that the API will use.
void write_old_segments(const config::Config& config) {
  std::filesystem::create_directories(config.audit_dir());
  audit::LogOptions options;
  options.directory = config.audit_dir();
  options.key_file = config.audit_key();
  options.segment_bytes = 2000;
  auto log = audit::Log::open(options);
  ASSERT_TRUE(log) << log.error().message();
  asio::io_context loop;
  auto write = [](audit::Log& log) -> Task<void> {
    for (int i = 0; i < 40; ++i) {
      audit::Record record;
      record.action = "test.old";
      record.outcome = "ok";
      (void)co_await log.append(std::move(record));
    }
  };
  run_on(loop, write(*log.value()));
  log.value()->close();
  ASSERT_GT(audit::list_segments(options.directory).value().size(), 3u);
}

TEST_F(ApiAuditTest, WhatWasDoneToOldSegmentsIsFoundInTheBackground) {
  write_old_segments(lab_.config);
  std::string path = audit::segment_path(lab_.config.audit_dir(), 1);
  std::string text = read_file(path, 64 << 20).value();
  text[text.find("test.old")] = 'T';
  std::ofstream(path) << text;
  // It starts all the same: what is written from now on can be relied on.
  with_api([](ApiLab& lab) -> Task<void> {
    json::array told;
    for (int i = 0; i < 200 && told.empty(); ++i) {
      told = co_await search(lab, "action=audit.damaged");
      if (told.empty()) co_await sleep_for(std::chrono::milliseconds(25));
    }
    CO_ASSERT_TRUE(told.size() == 1);
    EXPECT_EQ(text_of(told[0].at("details"), "segment"), audit::segment_name(1));
    EXPECT_EQ(text_of(told[0].at("details"), "line"), "2");
    EXPECT_EQ(text_of(told[0], "outcome"), "failed");
  });
}

TEST_F(ApiAuditTest, NothingIsSaidOfOldSegmentsThatAreWell) {
  write_old_segments(lab_.config);
  with_api([](ApiLab& lab) -> Task<void> {
    // It is looked at beside the calls; the end waits for it, or breaks it off.
    for (int i = 0; i < 20; ++i) (void)co_await lab.ask(Verb::get, "/v1/links");
    EXPECT_TRUE((co_await search(lab, "action=audit.damaged")).empty());
  });
  auto key = audit::public_key_from(read_file(lab_.config.audit_key() + ".pub").value());
  auto verdict = audit::verify_log(lab_.config.audit_dir(), key.value());
  EXPECT_FALSE(verdict.value().problem);
}

TEST_F(ApiAuditTest, PagesAndFollowing) {
  with_api([](ApiLab& lab) -> Task<void> {
    for (int i = 0; i < 5; ++i) (void)co_await lab.ask(Verb::get, "/v1/links");
    auto first = co_await lab.ask(Verb::get, "/v1/audit?limit=2&action=link.list");
    CO_ASSERT_TRUE(first.status == 200);
    EXPECT_EQ(first.body.at("records").as_array().size(), 2u);
    EXPECT_TRUE(first.body.at("more").as_bool());
    auto next = std::to_string(first.body.at("next").as_int64());
    auto second = co_await lab.ask(Verb::get, "/v1/audit?limit=9&action=link.list&before=" + next);
    EXPECT_EQ(second.body.at("records").as_array().size(), 3u);
    for (const char* wrong : {"after=1&before=2", "limit=1001", "since=yesterday", "after=-1"}) {
      EXPECT_EQ((co_await lab.ask(Verb::get, std::string("/v1/audit?") + wrong)).status, 400u)
          << wrong;
    }
    // Nobody is woken up by their own reading.
    auto head = co_await lab.ask(Verb::get, "/v1/audit?limit=1");
    auto last = head.body.at("records").at(0).at("seq").as_int64();
    auto quiet = co_await lab.ask(
        Verb::get, "/v1/audit?wait_ms=300&action=link.&after=" + std::to_string(last));
    EXPECT_TRUE(quiet.body.at("records").as_array().empty());
    auto copy = co_await lab.ask(Verb::get, "/v1/audit/head");
    auto head_line = text_of(copy.body, "head");
    EXPECT_EQ(text_of(copy.body, "hash"), audit::hash_line(head_line));
    audit::Expectation expected;
    expected.head = head_line;
    auto key = audit::public_key_from(text_of(copy.body, "publicKeyPEM"));
    CO_ASSERT_TRUE(key);
    auto verdict = audit::verify_log(lab.config.audit_dir(), *key, expected);
    CO_ASSERT_TRUE(verdict);
    EXPECT_FALSE(verdict.value().problem);
  });
}

}  // namespace
}  // namespace hako::test
