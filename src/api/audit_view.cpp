#include "api/audit_view.h"

#include <algorithm>

namespace hako::api {
namespace json = boost::json;

namespace {

/// What a withheld record still shows.
constexpr std::string_view kAlwaysShown[] = {"seq",   "prev",   "hash",    "time",  "tenant",
                                             "actor", "action", "outcome", "label", "audit"};

std::string_view text_of(const audit::Found& record, std::string_view name) {
  auto* value = record.if_contains(name);
  auto* text = value ? value->if_string() : nullptr;
  return text ? std::string_view(text->data(), text->size()) : std::string_view();
}

}  // namespace

AuditView::AuditView(const Principal& who, std::string tenant)
    : tenant_(std::move(tenant)), clearance_(who.clearance) {
  policy::Effective left = policy::effective(who.permission);
  agent_ = left.agent;
  sandboxes_ = std::move(left.sandboxes);
  // Of everybody's only the operator asks, whom this cannot be.
  if (!who.is_operator && tenant_.empty()) tenant_ = who.tenant;
}

bool AuditView::is_withheld(const audit::Found& record) const {
  std::string_view label = text_of(record, "label");
  return !label.empty() && !policy::may_read(clearance_, label_of(label)).allowed;
}

bool AuditView::admits(const audit::Found& record, const audit::Query& query) const {
  if (!tenant_.empty() && text_of(record, "tenant") != tenant_) return false;
  if (!agent_.empty() && !policy::is_at_or_below(text_of(record, "agent"), agent_)) return false;
  if (sandboxes_ && !sandboxes_->contains(std::string(text_of(record, "sandbox")))) return false;
  return (query.sandbox.empty() && query.text.empty()) || !is_withheld(record);
}

json::object AuditView::shown(audit::Found record) const {
  if (!is_withheld(record)) return record;
  json::object left;
  for (auto& [name, value] : record) {
    std::string_view key(name.data(), name.size());
    auto shown = std::find(std::begin(kAlwaysShown), std::end(kAlwaysShown), key);
    if (shown != std::end(kAlwaysShown)) left[name] = value;
  }
  left["withheld"] = true;
  return left;
}

}  // namespace hako::api
