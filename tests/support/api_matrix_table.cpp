#include "support/api_matrix.h"

namespace hako::test {

const std::vector<Expectation>& expectations() {
  using enum About;
  static const std::vector<Expectation> kAll = {
      {"get /health", nobody, 200, "", ""},
      {"get /openapi.json", nobody, 200, "", ""},
      {"put /v1/template-files/{token}", guess, 200, "", "data"},

      {"post /v2/sandboxes", agents, 201, "", R"({"templateID":"$name"})"},
      {"post /sandboxes", agents, 201, "", R"({"templateID":"$template"})"},
      {"get /v2/sandboxes", list, 200, "", ""},
      {"get /sandboxes", list, 200, "", ""},
      {"get /sandboxes/metrics", list, 200, "sandbox_ids=$box", ""},
      {"get /sandboxes/{sandboxID}", agents, 200, "", ""},
      {"delete /sandboxes/{sandboxID}", agents, 204, "", ""},
      {"post /sandboxes/{sandboxID}/timeout", agents, 204, "", R"({"timeout":60})"},
      {"post /sandboxes/{sandboxID}/refreshes", agents, 204, "", R"({"duration":600})"},
      {"post /v2/sandboxes/{sandboxID}/connect", agents, 200, "", R"({"timeout":60})"},
      {"post /sandboxes/{sandboxID}/connect", agents, 200, "", R"({"timeout":60})"},
      {"post /sandboxes/{sandboxID}/resume", agents, 409, "", R"({"timeout":60})"},
      {"post /v2/sandboxes", agents, 201, "", R"({"templateID":"$snapshot"})"},
      {"post /sandboxes/{sandboxID}/pause", agents, 204, "", ""},
      {"post /sandboxes/{sandboxID}/snapshots", agents, 201, "", ""},
      {"post /sandboxes/{sandboxID}/fork", agents, 201, "", ""},
      {"post /v1/sandboxes/{sandboxID}/rollback", agents, 200, "",
       R"({"snapshotID":"$snapshot"})"},
      {"put /sandboxes/{sandboxID}/network", agents, 204, "", R"({"egress":"none"})"},
      {"get /sandboxes/{sandboxID}/metrics", agents, 200, "", ""},
      {"get /sandboxes/{sandboxID}/logs", agents, 200, "", ""},
      {"get /v2/sandboxes/{sandboxID}/logs", agents, 200, "", ""},
      {"get /snapshots", list, 200, "", ""},
      {"post /v1/sandboxes/{sandboxID}/label", agents, 200, "", R"({"label":"secret"})"},
      {"get /v1/sandboxes/{sandboxID}/egress", agents, 200, "", ""},
      {"post /v1/policy/check", agents, 200, "",
       R"({"box":"$box","destination":{"name":"a.example","port":443}})"},
      {"post /v1/links", agents, 201, "", R"({"from":"$peer","to":"$box","port":80})"},
      {"get /v1/links", list, 200, "", ""},
      {"delete /v1/links/{linkID}", agents, 204, "", ""},

      {"get /templates", list, 200, "", ""},
      {"get /v2/templates", list, 200, "", ""},
      {"get /templates/aliases/{alias}", agents, 200, "", ""},
      {"post /templates/tags", agents, 201, "", R"({"target":"$name","tags":["new"]})"},
      {"delete /templates/tags", agents, 204, "", R"({"name":"$name","tags":["old"]})"},
      {"post /v3/templates", caller, 202, "", R"({"name":"anothername"})"},
      {"get /templates/{templateID}", agents, 200, "", ""},
      {"delete /templates/{templateID}", agents, 204, "", ""},
      {"patch /templates/{templateID}", agents, 200, "", R"({"public":false})"},
      {"patch /v2/templates/{templateID}", agents, 200, "", R"({"label":"secret"})"},
      {"get /templates/{templateID}/tags", agents, 200, "", ""},
      {"get /templates/{templateID}/files/{hash}", agents, 201, "", ""},
      {"post /v2/templates/{templateID}/builds/{buildID}", agents, 202, "",
       R"({"fromTemplate":"base","steps":[]})"},
      {"get /templates/{templateID}/builds/{buildID}/status", agents, 200, "", ""},
      {"get /templates/{templateID}/builds/{buildID}/logs", agents, 200, "", ""},
      {"get /v1/templates", list, 200, "", ""},
      // Which this node cannot build, whatever from: it is the words that must be the same.
      {"post /v1/templates", agents, 409, "", R"({"name":"onemore","from":"$name","run":[]})", 409},
      {"delete /v1/templates/{name}", agents, 204, "", ""},

      {"get /v1/info", caller, 200, "", ""},
      {"post /v1/policy/explain", agents, 200, "", R"({"action":"sandbox.read","box":"$box"})"},

      {"get /v1/tenants", list, 200, "", ""},
      {"post /v1/tenants", caller, 201, "", R"({"name":"another"})"},
      {"get /v1/tenants/{tenant}", tenants, 200, "", ""},
      {"patch /v1/tenants/{tenant}", tenants, 200, "", R"({"suspended":false})"},
      {"delete /v1/tenants/{tenant}", tenants, 409, "", ""},
      {"get /v1/keys", list, 200, "", ""},
      {"post /v1/keys", caller, 201, "", R"({"role":"viewer"})"},
      {"get /v1/keys/{keyID}", keys, 200, "", ""},
      {"patch /v1/keys/{keyID}", keys, 200, "", R"({"role":"viewer"})"},
      {"post /v1/keys/{keyID}/rotate", keys, 200, "", ""},
      {"delete /v1/keys/{keyID}", keys, 204, "", ""},
      {"post /v1/tokens", caller, 201, "", R"({"actions":["sandbox.read"]})"},
      {"post /v1/tokens/revoke", caller, 404, "", R"({"tokenID":"nokey.0123456789abcdef"})"},

      {"get /v1/audit", records, 200, "limit=1000", ""},
      {"get /v1/audit/head", caller, 200, "", ""},
      {"get /v1/audit/segments", caller, 200, "", ""},
      {"get /v1/audit/segments/{name}", caller, 200, "", ""},
  };
  return kAll;
}

}  // namespace hako::test
