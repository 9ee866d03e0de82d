#include <array>

#include "api/handlers.h"
#include "api/router.h"

namespace hako::api {

std::span<const Route> routes() {
  using http::Verb;
  using policy::Action;
  static constexpr std::array kRoutes = {
      Route{Verb::get, "/health", health, std::nullopt, "", true},
      Route{Verb::get, "/openapi.json", openapi, std::nullopt, "", true},

      Route{Verb::post, "/v2/sandboxes", create_sandbox_v2,
            Action::sandbox_create, "sandbox.create"},
      Route{Verb::post, "/sandboxes", create_sandbox_v1, Action::sandbox_create, "sandbox.create"},
      Route{Verb::get, "/v2/sandboxes", list_sandboxes_v2, Action::sandbox_read, "sandbox.list"},
      Route{Verb::get, "/sandboxes", list_sandboxes_v1, Action::sandbox_read, "sandbox.list"},
      Route{Verb::get, "/sandboxes/metrics", all_metrics, Action::sandbox_read, "sandbox.metrics"},
      Route{Verb::get, "/sandboxes/{sandboxID}", get_sandbox, Action::sandbox_read, "sandbox.get"},
      Route{Verb::delete_, "/sandboxes/{sandboxID}", delete_sandbox,
            Action::sandbox_control, "sandbox.delete"},
      Route{Verb::post, "/sandboxes/{sandboxID}/timeout", set_timeout,
            Action::sandbox_control, "sandbox.timeout"},
      Route{Verb::post, "/sandboxes/{sandboxID}/refreshes", refresh,
            Action::sandbox_control, "sandbox.refresh"},
      Route{Verb::post, "/v2/sandboxes/{sandboxID}/connect", connect_v2,
            Action::sandbox_read, "sandbox.connect"},
      Route{Verb::post, "/sandboxes/{sandboxID}/connect", connect_v1,
            Action::sandbox_read, "sandbox.connect"},
      Route{Verb::post, "/sandboxes/{sandboxID}/resume", resume,
            Action::sandbox_control, "sandbox.resume"},
      Route{Verb::post, "/sandboxes/{sandboxID}/pause", pause,
            Action::sandbox_control, "sandbox.pause"},
      Route{Verb::post, "/sandboxes/{sandboxID}/snapshots", snapshot,
            Action::sandbox_control, "sandbox.snapshot"},
      Route{Verb::post, "/sandboxes/{sandboxID}/fork", fork,
            Action::sandbox_create, "sandbox.fork"},
      Route{Verb::put, "/sandboxes/{sandboxID}/network", update_network,
            Action::sandbox_control, "sandbox.network"},
      Route{Verb::get, "/sandboxes/{sandboxID}/metrics", metrics,
            Action::sandbox_read, "sandbox.metrics"},
      Route{Verb::get, "/sandboxes/{sandboxID}/logs", logs_v1,
            Action::sandbox_read, "sandbox.logs"},
      Route{Verb::get, "/v2/sandboxes/{sandboxID}/logs", logs_v2,
            Action::sandbox_read, "sandbox.logs"},
      Route{Verb::get, "/snapshots", list_snapshots, Action::sandbox_read, "snapshot.list"},

      Route{Verb::get, "/templates", list_templates, Action::template_read, "template.list"},
      Route{Verb::get, "/v2/templates", list_templates_v2, Action::template_read, "template.list"},
      Route{Verb::get, "/templates/aliases/{alias}", find_alias,
            Action::template_read, "template.alias"},
      Route{Verb::post, "/templates/tags", assign_tags, Action::template_write, "template.tag"},
      Route{Verb::delete_, "/templates/tags", remove_tags,
            Action::template_write, "template.untag"},
      Route{Verb::post, "/v3/templates", create_template,
            Action::template_write, "template.create"},
      Route{Verb::get, "/templates/{templateID}", get_template,
            Action::template_read, "template.get"},
      Route{Verb::delete_, "/templates/{templateID}", delete_template,
            Action::template_write, "template.delete"},
      Route{Verb::patch, "/templates/{templateID}", update_template,
            Action::template_write, "template.update"},
      Route{Verb::patch, "/v2/templates/{templateID}", update_template,
            Action::template_write, "template.update"},
      Route{Verb::get, "/templates/{templateID}/tags", list_tags,
            Action::template_read, "template.tags"},
      Route{Verb::get, "/templates/{templateID}/files/{hash}", template_upload,
            Action::template_write, "template.upload"},
      Route{Verb::post, "/v2/templates/{templateID}/builds/{buildID}", start_build,
            Action::template_write, "template.build"},
      Route{Verb::get, "/templates/{templateID}/builds/{buildID}/status", build_status,
            Action::template_read, "build.status"},
      Route{Verb::get, "/templates/{templateID}/builds/{buildID}/logs", build_logs,
            Action::template_read, "build.logs"},

      Route{Verb::get, "/v1/info", info, std::nullopt, "info.get"},
      Route{Verb::get, "/v1/templates", list_own_templates, Action::template_read, "template.list"},
      Route{Verb::post, "/v1/templates", build_template, Action::template_write, "template.build"},
      Route{Verb::delete_, "/v1/templates/{name}", delete_template,
            Action::template_write, "template.delete"},
      Route{Verb::post, "/v1/sandboxes/{sandboxID}/label", raise_label,
            Action::sandbox_control, "sandbox.label"},
      Route{Verb::get, "/v1/sandboxes/{sandboxID}/egress", egress_log,
            Action::sandbox_read, "sandbox.egress"},
      Route{Verb::post, "/v1/policy/check", check_policy, Action::sandbox_read, "policy.check"},
      Route{Verb::post, "/v1/links", add_link, Action::sandbox_control, "link.add"},
      Route{Verb::get, "/v1/links", list_links, Action::sandbox_read, "link.list"},
      Route{Verb::delete_, "/v1/links/{linkID}", remove_link,
            Action::sandbox_control, "link.remove"},

      Route{Verb::get, "/v1/audit", read_audit, Action::audit_read, "audit.read"},
      Route{Verb::get, "/v1/audit/head", audit_head, Action::audit_read, "audit.head"},
      Route{Verb::get, "/v1/audit/segments", list_audit_segments,
            Action::tenant_manage, "audit.segments"},
      Route{Verb::get, "/v1/audit/segments/{name}", audit_segment,
            Action::tenant_manage, "audit.export"},
  };
  return kRoutes;
}

}  // namespace hako::api
