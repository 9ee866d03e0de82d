// What the API tells the audit log, and who reads it.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "audit/line.h"
#include "audit/segments.h"
#include "audit/verify.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {
namespace {

using http::Verb;

class ApiAuditTest : public ::testing::Test {
 protected:
  void with_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, started(body)); }

  ApiLab lab_;

 private:
  Task<void> started(Task<void> (*body)(ApiLab&)) {
    co_await lab_.start();
    std::exception_ptr fault;
    try {
      co_await body(lab_);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }
};

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

struct NewKey {
  std::string id, key;
};

Task<NewKey> add_key(ApiLab& lab, std::string tenant, std::string body) {
  auto made = co_await lab.ask_in(tenant, Verb::post, "/v1/keys", body);
  if (made.status != 201) throw std::runtime_error(made.message());
  NewKey result;
  result.id = text_of(made.body, "keyID");
  result.key = text_of(made.body, "key");
  co_return result;
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
        co_await add_key(lab, "acme", R"({"role":"auditor","policy":{"label":"public"}})");
    NewKey viewer = co_await add_key(lab, "acme", R"({"role":"viewer"})");
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
    NewKey key = co_await add_key(lab, "acme", R"({"role":"owner"})");
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
