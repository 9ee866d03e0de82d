#include "api/tenants.h"

#include "api/authority.h"
#include "api/field_reader.h"
#include "api/now.h"
#include "api/user_error.h"
#include "base/clock.h"
#include "policy/narrowing_json.h"

namespace hako::api {
namespace json = boost::json;
using store::TenantRecord;
using store::TenantStore;

namespace {

constexpr size_t kLongestTenantName = 64;

/// An object as the store has it; "" is an empty one, and what cannot be read as well: it is shown
/// only.
json::object stored_object(const std::string& text) {
  json::error_code bad;
  json::value value = json::parse(text.empty() ? "{}" : text, bad);
  return bad || !value.is_object() ? json::object() : std::move(value.get_object());
}

/// Empty for an empty object.
std::string store_object(const json::object& object) {
  return object.empty() ? std::string() : json::serialize(object);
}

void read_policy_and_quota(FieldReader& reader, TenantRequest& request) {
  if (const json::object* object = reader.object("policy")) {
    auto narrowing = policy::narrowing_from(*object);
    if (!narrowing) {
      reader.fail("policy", "is wrong: " + narrowing.error().message());
    } else if (narrowing.value().tenant) {
      reader.fail("policy.tenant", "must not be there: a tenant's policy is for itself");
    } else {
      request.policy = std::move(narrowing.value());
    }
  }
  if (const json::object* object = reader.object("quota")) {
    auto quota = policy::quota_from(*object);
    if (!quota) {
      reader.fail("quota", "is wrong: " + quota.error().message());
    } else {
      request.quota = quota.value();
    }
  }
  request.suspended = reader.flag("suspended");
}

/// The operator's own key acts in this tenant, and is what mends everything else.
Result<void> leave_the_operator_in(const TenantRequest& request) {
  if (!request.policy) return ok();
  const policy::Narrowing& policy = *request.policy;
  if (!policy.actions && !policy.agent && !policy.sandboxes && !policy.expires_ms) return ok();
  return Error(ErrorCode::failed_precondition,
               std::string("actions, agent, sandboxes and expires cannot be set for the tenant ") +
                   store::kDefaultTenant + ": its operator would be locked out");
}

void apply(const TenantRequest& request, TenantRecord& record) {
  if (request.policy) record.policy = store_object(policy::to_json(*request.policy));
  if (request.quota) record.quota = store_object(policy::to_json(*request.quota));
  if (request.suspended) record.suspended = *request.suspended;
}

}  // namespace

Result<TenantRequest> parse_new_tenant(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"name", "policy", "quota", "suspended"});
  TenantRequest request;
  request.name = reader.text("name", kLongestTenantName).value_or("");
  if (!policy::is_tenant_name(request.name)) {
    reader.fail("name",
                "must be a name: lower-case letters, digits, and '-', '_' and '.' inside, at "
                "most " + std::to_string(kLongestTenantName) + " bytes");
  }
  read_policy_and_quota(reader, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<TenantRequest> parse_tenant_change(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"policy", "quota", "suspended"});
  TenantRequest request;
  read_policy_and_quota(reader, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

json::object tenant_json(const TenantRecord& record) {
  json::object object;
  object["name"] = record.name;
  object["policy"] = stored_object(record.policy);
  object["quota"] = stored_object(record.quota);
  object["suspended"] = record.suspended;
  object["createdAt"] = to_rfc3339(from_unix_ms(record.created_ms));
  return object;
}

json::object usage_json(const TenantInUse& tenant) {
  json::object object;
  object["boxes"] = tenant.usage.boxes;
  object["pausedBoxes"] = tenant.usage.paused;
  object["vcpus"] = tenant.usage.vcpus;
  object["memoryMB"] = tenant.usage.memory_mib;
  object["diskMB"] = tenant.usage.disk_mib;
  object["egressBytesToday"] = tenant.bytes_today;
  return object;
}

Result<policy::Quota> read_quota(std::string_view stored) {
  if (stored.empty()) return policy::Quota();
  json::error_code bad;
  json::value value = json::parse(json::string_view(stored.data(), stored.size()), bad);
  const json::object* object = bad ? nullptr : value.if_object();
  if (!object) return Error(ErrorCode::corrupted, "a tenant's quota cannot be read");
  auto quota = policy::quota_from(*object);
  if (!quota) return Error(ErrorCode::corrupted, quota.error().message());
  return quota;
}

std::string traffic_period(int64_t now_ms) {
  return to_rfc3339(from_unix_ms(now_ms)).substr(0, std::string_view("2026-11-25").size());
}

bool sees_whole_tenant(const Principal& who, const TenantRecord& tenant) {
  if (who.is_operator) return true;
  policy::Effective left = policy::effective(who.permission);
  if (!left.agent.empty() || left.sandboxes || !left.contradiction.empty()) return false;
  policy::Label highest = policy::Label::secret;
  auto of_tenant = policy::narrowing_from(stored_object(tenant.policy));
  if (of_tenant && of_tenant.value().label) highest = *of_tenant.value().label;
  return left.label >= highest;
}

Task<Result<std::vector<TenantRecord>>> Tenants::list(Principal who) {
  auto work = [only = who.is_operator ? std::string() : who.tenant](
                  TenantStore& tenants) -> Result<std::vector<TenantRecord>> {
    if (only.empty()) return tenants.all_tenants();
    std::vector<TenantRecord> own;
    HAKO_TRY(auto found, tenants.find_tenant(only));
    if (found) own.push_back(std::move(*found));
    return own;
  };
  auto all = co_await store_.with_tenants(std::move(work));
  if (!all) co_return error_for_user(all.error(), "tenants not read");
  co_return std::move(all);
}

Task<Result<TenantInUse>> Tenants::find(std::string name, Principal who) {
  if (!who.is_operator && name != who.tenant) co_return unknown_tenant(name);
  auto work = [name, today = traffic_period(unix_now_ms())](TenantStore& tenants)
      -> Result<TenantInUse> {
    HAKO_TRY(auto found, tenants.find_tenant(name));
    if (!found) return unknown_tenant(name);
    TenantInUse tenant;
    tenant.record = std::move(*found);
    HAKO_TRY(tenant.usage, tenants.usage_of(name));
    HAKO_TRY(tenant.bytes_today, tenants.traffic_of(name, today));
    return tenant;
  };
  auto found = co_await store_.with_tenants(std::move(work));
  if (!found) co_return error_for_user(found.error(), "tenant not read");
  co_return std::move(found);
}

Task<Result<TenantRecord>> Tenants::add(TenantRequest request) {
  TenantRecord record;
  record.name = request.name;
  record.created_ms = unix_now_ms();
  apply(request, record);
  auto work = [record](TenantStore& tenants) -> Result<void> {
    HAKO_TRY(auto all, tenants.all_tenants());
    if (all.size() >= kMostTenants) {
      return Error(ErrorCode::resource_exhausted,
                   "there are " + std::to_string(kMostTenants) + " tenants already");
    }
    HAKO_TRY(auto known, tenants.find_tenant(record.name));
    if (known) {
      return Error(ErrorCode::already_exists, "tenant " + record.name + " is there already");
    }
    return tenants.add_tenant(record);
  };
  auto added = co_await store_.with_tenants(std::move(work));
  if (!added) co_return error_for_user(added.error(), "tenant not added");
  co_return record;
}

Task<Result<TenantRecord>> Tenants::change(std::string name, TenantRequest request) {
  if (name == store::kDefaultTenant) {
    HAKO_CO_TRYV(leave_the_operator_in(request));
  }
  auto work = [name, request](TenantStore& tenants) -> Result<TenantRecord> {
    HAKO_TRY(auto record, tenants.find_tenant(name));
    if (!record) return unknown_tenant(name);
    apply(request, *record);
    HAKO_TRYV(tenants.put_tenant(*record));
    return *record;
  };
  auto changed = co_await store_.with_tenants(std::move(work));
  if (!changed) co_return error_for_user(changed.error(), "tenant not changed");
  KeyChange change{.tenant = name};
  co_await changed_(std::move(change));
  co_return std::move(changed);
}

Task<Result<void>> Tenants::remove(std::string name) {
  if (!policy::is_tenant_name(name)) co_return unknown_tenant(name);
  auto work = [name](TenantStore& tenants) { return tenants.remove_tenant(name); };
  auto removed = co_await store_.with_tenants(std::move(work));
  if (!removed) co_return error_for_user(removed.error(), "tenant not removed");
  KeyChange change{.tenant = name};
  co_await changed_(std::move(change));
  co_return ok();
}

}  // namespace hako::api
