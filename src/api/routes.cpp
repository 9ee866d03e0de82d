#include <array>

#include "api/handlers.h"
#include "api/router.h"

namespace hako::api {

std::span<const Route> routes() {
  using http::Verb;
  static constexpr std::array kRoutes = {
      Route{Verb::get, "/health", health, Access::open},
      Route{Verb::get, "/openapi.json", openapi, Access::open},

      Route{Verb::post, "/v2/sandboxes", create_sandbox_v2},
      Route{Verb::post, "/sandboxes", create_sandbox_v1},
      Route{Verb::get, "/v2/sandboxes", list_sandboxes_v2},
      Route{Verb::get, "/sandboxes", list_sandboxes_v1},
      Route{Verb::get, "/sandboxes/metrics", all_metrics},
      Route{Verb::get, "/sandboxes/{sandboxID}", get_sandbox},
      Route{Verb::delete_, "/sandboxes/{sandboxID}", delete_sandbox},
      Route{Verb::post, "/sandboxes/{sandboxID}/timeout", set_timeout},
      Route{Verb::post, "/sandboxes/{sandboxID}/refreshes", refresh},
      Route{Verb::post, "/v2/sandboxes/{sandboxID}/connect", connect_v2},
      Route{Verb::post, "/sandboxes/{sandboxID}/connect", connect_v1},
      Route{Verb::post, "/sandboxes/{sandboxID}/resume", resume},
      Route{Verb::post, "/sandboxes/{sandboxID}/pause", pause},
      Route{Verb::post, "/sandboxes/{sandboxID}/snapshots", snapshot},
      Route{Verb::post, "/sandboxes/{sandboxID}/fork", fork},
      Route{Verb::put, "/sandboxes/{sandboxID}/network", update_network},
      Route{Verb::get, "/sandboxes/{sandboxID}/metrics", metrics},
      Route{Verb::get, "/sandboxes/{sandboxID}/logs", logs_v1},
      Route{Verb::get, "/v2/sandboxes/{sandboxID}/logs", logs_v2},
      Route{Verb::get, "/snapshots", list_snapshots},

      Route{Verb::get, "/templates", list_templates},
      Route{Verb::get, "/v2/templates", list_templates_v2},
      Route{Verb::get, "/templates/aliases/{alias}", find_alias},
      Route{Verb::post, "/templates/tags", assign_tags},
      Route{Verb::delete_, "/templates/tags", remove_tags},
      Route{Verb::post, "/v3/templates", create_template},
      Route{Verb::get, "/templates/{templateID}", get_template},
      Route{Verb::delete_, "/templates/{templateID}", delete_template},
      Route{Verb::patch, "/templates/{templateID}", update_template},
      Route{Verb::patch, "/v2/templates/{templateID}", update_template},
      Route{Verb::get, "/templates/{templateID}/tags", list_tags},
      Route{Verb::get, "/templates/{templateID}/files/{hash}", template_upload},
      Route{Verb::post, "/v2/templates/{templateID}/builds/{buildID}", start_build},
      Route{Verb::get, "/templates/{templateID}/builds/{buildID}/status", build_status},
      Route{Verb::get, "/templates/{templateID}/builds/{buildID}/logs", build_logs},

      Route{Verb::get, "/v1/info", info},
      Route{Verb::get, "/v1/templates", list_own_templates},
      Route{Verb::post, "/v1/templates", build_template},
      Route{Verb::delete_, "/v1/templates/{name}", delete_template},
      Route{Verb::post, "/v1/sandboxes/{sandboxID}/label", raise_label},
      Route{Verb::get, "/v1/sandboxes/{sandboxID}/egress", egress_log},
      Route{Verb::post, "/v1/policy/check", check_policy},
      Route{Verb::post, "/v1/links", add_link},
      Route{Verb::get, "/v1/links", list_links},
      Route{Verb::delete_, "/v1/links/{linkID}", remove_link},
  };
  return kRoutes;
}

}  // namespace hako::api
