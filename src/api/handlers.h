// One function per route; the table is in routes.cpp.
#pragma once

#include "api/router.h"

namespace hako::api {

Task<Result<http::Response>> health(Service&, const Call&);
Task<Result<http::Response>> openapi(Service&, const Call&);
Task<Result<http::Response>> info(Service&, const Call&);

Task<Result<http::Response>> create_sandbox_v1(Service&, const Call&);
Task<Result<http::Response>> create_sandbox_v2(Service&, const Call&);
Task<Result<http::Response>> list_sandboxes_v1(Service&, const Call&);
Task<Result<http::Response>> list_sandboxes_v2(Service&, const Call&);
Task<Result<http::Response>> get_sandbox(Service&, const Call&);
Task<Result<http::Response>> delete_sandbox(Service&, const Call&);
Task<Result<http::Response>> set_timeout(Service&, const Call&);
Task<Result<http::Response>> refresh(Service&, const Call&);
Task<Result<http::Response>> connect_v1(Service&, const Call&);
Task<Result<http::Response>> connect_v2(Service&, const Call&);
Task<Result<http::Response>> logs_v1(Service&, const Call&);
Task<Result<http::Response>> logs_v2(Service&, const Call&);
Task<Result<http::Response>> metrics(Service&, const Call&);
Task<Result<http::Response>> all_metrics(Service&, const Call&);
Task<Result<http::Response>> update_network(Service&, const Call&);
Task<Result<http::Response>> raise_label(Service&, const Call&);
Task<Result<http::Response>> egress_log(Service&, const Call&);
Task<Result<http::Response>> check_policy(Service&, const Call&);
Task<Result<http::Response>> explain_policy(Service&, const Call&);
Task<Result<http::Response>> add_link(Service&, const Call&);
Task<Result<http::Response>> list_links(Service&, const Call&);
Task<Result<http::Response>> remove_link(Service&, const Call&);

Task<Result<http::Response>> resume(Service&, const Call&);
Task<Result<http::Response>> pause(Service&, const Call&);
Task<Result<http::Response>> snapshot(Service&, const Call&);
Task<Result<http::Response>> fork(Service&, const Call&);
Task<Result<http::Response>> rollback(Service&, const Call&);
Task<Result<http::Response>> list_snapshots(Service&, const Call&);

Task<Result<http::Response>> read_audit(Service&, const Call&);
Task<Result<http::Response>> audit_head(Service&, const Call&);
Task<Result<http::Response>> list_audit_segments(Service&, const Call&);
Task<Result<http::Response>> audit_segment(Service&, const Call&);

Task<Result<http::Response>> list_templates(Service&, const Call&);
Task<Result<http::Response>> list_templates_v2(Service&, const Call&);
Task<Result<http::Response>> get_template(Service&, const Call&);
Task<Result<http::Response>> update_template(Service&, const Call&);
Task<Result<http::Response>> find_alias(Service&, const Call&);
Task<Result<http::Response>> create_template(Service&, const Call&);
Task<Result<http::Response>> template_upload(Service&, const Call&);
Task<Result<http::Response>> start_build(Service&, const Call&);
Task<Result<http::Response>> build_status(Service&, const Call&);
Task<Result<http::Response>> build_logs(Service&, const Call&);
Task<Result<http::Response>> assign_tags(Service&, const Call&);
Task<Result<http::Response>> remove_tags(Service&, const Call&);
Task<Result<http::Response>> list_tags(Service&, const Call&);
Task<Result<http::Response>> list_own_templates(Service&, const Call&);
Task<Result<http::Response>> build_template(Service&, const Call&);
Task<Result<http::Response>> delete_template(Service&, const Call&);


Task<Result<http::Response>> list_tenants(Service&, const Call&);
Task<Result<http::Response>> get_tenant(Service&, const Call&);
Task<Result<http::Response>> create_tenant(Service&, const Call&);
Task<Result<http::Response>> update_tenant(Service&, const Call&);
Task<Result<http::Response>> delete_tenant(Service&, const Call&);

Task<Result<http::Response>> list_keys(Service&, const Call&);
Task<Result<http::Response>> get_key(Service&, const Call&);
Task<Result<http::Response>> create_key(Service&, const Call&);
Task<Result<http::Response>> update_key(Service&, const Call&);
Task<Result<http::Response>> rotate_key(Service&, const Call&);
Task<Result<http::Response>> delete_key(Service&, const Call&);
Task<Result<http::Response>> mint_token(Service&, const Call&);
Task<Result<http::Response>> revoke_token(Service&, const Call&);

Task<Result<http::Response>> list_secrets(Service&, const Call&);
Task<Result<http::Response>> get_secret(Service&, const Call&);
Task<Result<http::Response>> create_secret(Service&, const Call&);
Task<Result<http::Response>> update_secret(Service&, const Call&);
Task<Result<http::Response>> rotate_secret(Service&, const Call&);
Task<Result<http::Response>> delete_secret(Service&, const Call&);
Task<Result<http::Response>> list_e2b_secrets(Service&, const Call&);
Task<Result<http::Response>> get_e2b_secret(Service&, const Call&);
Task<Result<http::Response>> create_e2b_secret(Service&, const Call&);
Task<Result<http::Response>> update_e2b_secret(Service&, const Call&);
Task<Result<http::Response>> list_box_secrets(Service&, const Call&);
Task<Result<http::Response>> set_box_secrets(Service&, const Call&);

Task<Result<http::Response>> model_usage(Service&, const Call&);
Task<Result<http::Response>> list_models(Service&, const Call&);
Task<Result<http::Response>> stop_models(Service&, const Call&);
Task<Result<http::Response>> start_models(Service&, const Call&);
Task<Result<http::Response>> mcp_message(Service&, const Call&);
Task<Result<http::Response>> mcp_end(Service&, const Call&);

// What several of them need.

/// 200 with {"<name>": [...]}: each item as `shown` tells it.
template <class Items, class ShownAs>
http::Response listed(const char* name, const Items& items, ShownAs shown) {
  boost::json::array list;
  for (const auto& item : items) list.push_back(shown(item));
  boost::json::object answer;
  answer[name] = std::move(list);
  return http::Response::json(200, answer);
}

}  // namespace hako::api
