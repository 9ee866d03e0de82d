// What tests of the API share: one that runs, clients of it, and a look into its store.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>

#include "api/keys.h"
#include "store/store.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {

/// An API and a node for each test.
class ApiFixture : public ::testing::Test {
 protected:
  explicit ApiFixture(std::chrono::seconds limit = std::chrono::seconds(60)) : limit_(limit) {}

  /// Runs `body` with both up.
  void with_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, started(body, true), limit_); }
  /// Runs `body`, which starts what it wants.
  void without_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, started(body, false), limit_); }

  /// Before the body, with both up.
  virtual Task<void> prepare() { co_return; }
  /// After the body, whatever came of it: whoever waits for the node waits no longer.
  virtual void release() {}

  ApiLab lab_;

 private:
  Task<void> started(Task<void> (*body)(ApiLab&), bool starts) {
    if (starts) co_await lab_.start();
    std::exception_ptr fault;
    try {
      if (starts) co_await prepare();
      co_await body(lab_);
    } catch (...) {
      fault = std::current_exception();
    }
    release();
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }

  std::chrono::seconds limit_;
};

/// Where the operator leaves the internet to all.
class ApiOpenFixture : public ApiFixture {
 protected:
  ApiOpenFixture() { lab_.config.egress.ceiling = policy::EgressLevel::internet; }
};

inline void expect_reply(const Reply& reply, unsigned status, std::string_view part = {}) {
  EXPECT_EQ(reply.status, status) << reply.message();
  EXPECT_NE(reply.message().find(part), std::string::npos) << reply.message();
}

/// An error as clients of E2B read it.
inline void expect_refusal(const Reply& reply, unsigned status, std::string_view part) {
  expect_reply(reply, status, part);
  ASSERT_TRUE(reply.body.is_object());
  EXPECT_EQ(reply.body.at("code").to_number<unsigned>(), status);
}

inline std::string member(const json::value& value, const char* name) {
  return std::string(value.at(name).as_string());
}

/// A member of the answer, which must have it.
inline std::string text(const Reply& reply, const char* member) {
  const json::object* members = reply.body.if_object();
  const json::value* value = members ? members->if_contains(member) : nullptr;
  if (!value) throw std::runtime_error(std::string(member) + ": " + reply.message());
  return std::string(value->as_string());
}

/// What makes a sandbox, with these members beside its template.
inline std::string box_with(const std::string& members) {
  return R"({"templateID":"base")" + (members.empty() ? "" : "," + members) + "}";
}

struct NewKey {
  std::string id, key;
};

/// A key that the operator makes in a tenant.
inline Task<NewKey> make_key(ApiLab& lab, std::string tenant, std::string body) {
  auto made = co_await lab.ask_in(std::move(tenant), http::Verb::post, "/v1/keys", std::move(body));
  if (made.status != 201) throw std::runtime_error(made.message());
  NewKey result;
  result.id = member(made.body, "keyID");
  result.key = member(made.body, "key");
  co_return result;
}

inline Task<void> add_tenant(ApiLab& lab, std::string name, std::string more = {}) {
  std::string body = R"({"name":")" + name + "\"" + more + "}";
  auto made = co_await lab.ask(http::Verb::post, "/v1/tenants", body);
  if (made.status != 201) throw std::runtime_error(made.message());
}

inline Task<std::string> mint(ApiLab& lab, std::string key, std::string body = {}) {
  auto made = co_await lab.ask_with_key(http::Verb::post, "/v1/tokens", body, key);
  if (made.status != 201) throw std::runtime_error(made.message());
  co_return text(made, "token");
}

inline Task<unsigned> status_with(ApiLab& lab, std::string key) {
  auto reply = co_await lab.ask_with_key(http::Verb::get, "/v2/sandboxes", "", key);
  co_return reply.status;
}

inline std::unique_ptr<store::Store> store_of(ApiLab& lab) {
  return std::move(store::open_sqlite_store(lab.config.database()).value());
}

inline std::optional<store::SandboxRecord> record_of(ApiLab& lab, const std::string& id) {
  return store_of(lab)->find_sandbox(id).value();
}

inline size_t count_calls(ApiLab& lab, std::string_view method) {
  return size_t(std::count(lab.node.calls.begin(), lab.node.calls.end(), method));
}

/// Statements on the API's own store, as another process would make them.
inline void run_sql(ApiLab& lab, const std::string& statements) {
  sqlite3* database = nullptr;
  EXPECT_EQ(sqlite3_open(lab.config.database().c_str(), &database), SQLITE_OK);
  sqlite3_busy_timeout(database, 5000);
  EXPECT_EQ(sqlite3_exec(database, statements.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

/// A key straight in the store, of a tenant that is made if it is not there.
inline std::string put_key(ApiLab& lab, const std::string& id, const std::string& tenant,
                           const std::string& role, const std::string& narrowing = {},
                           const std::string& clearance = "secret") {
  std::string key = api::make_api_key();
  auto store = store_of(lab);
  store::TenantRecord home;
  home.name = tenant;
  (void)store->tenants().add_tenant(home);
  store::ApiKey made;
  made.id = id;
  made.hash = api::hash_api_key(key);
  made.tenant = tenant;
  made.role = role;
  made.narrowing = narrowing;
  made.clearance = clearance;
  EXPECT_TRUE(store->tenants().put_key(made));
  return key;
}

/// Another key, with less clearance than the operator's.
inline std::string key_cleared_for(ApiLab& lab, const std::string& clearance) {
  return put_key(lab, "key-" + clearance, store::kDefaultTenant, "member", {}, clearance);
}

inline void put_quota(ApiLab& lab, const std::string& tenant, const std::string& quota) {
  auto store = store_of(lab);
  auto record = store->tenants().find_tenant(tenant).value();
  record->quota = quota;
  EXPECT_TRUE(store->tenants().put_tenant(*record));
}

}  // namespace hako::test
