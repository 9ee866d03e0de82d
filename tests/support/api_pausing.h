// What the tests of pausing, forks and snapshots share: an API that runs, and a look into its store.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "api/keys.h"
#include "store/store.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {

class ApiPausing : public ::testing::Test {
 protected:
  /// Runs `body` with API and node up.
  void with_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, started(body, true)); }
  /// Runs `body`, which starts what it wants.
  void without_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, started(body, false)); }

 private:
  Task<void> started(Task<void> (*body)(ApiLab&), bool starts) {
    if (starts) co_await lab_.start();
    std::exception_ptr fault;
    try {
      co_await body(lab_);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }

  ApiLab lab_;
};

inline void expect_reply(const Reply& reply, unsigned status, std::string_view part = {}) {
  EXPECT_EQ(reply.status, status) << reply.message();
  EXPECT_NE(reply.message().find(part), std::string::npos) << reply.message();
}

inline std::string member(const json::value& value, const char* name) {
  return std::string(value.at(name).as_string());
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

inline void put_quota(ApiLab& lab, const std::string& tenant, const std::string& quota) {
  auto store = store_of(lab);
  auto record = store->tenants().find_tenant(tenant).value();
  record->quota = quota;
  EXPECT_TRUE(store->tenants().put_tenant(*record));
}

}  // namespace hako::test
