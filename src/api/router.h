// Which handler answers which request.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/metrics.h"
#include "api/sandboxes.h"
#include "http/message.h"

namespace hako::api {

class Snapshots;
class TemplateCatalog;
class TemplateFiles;
class TemplateBuilder;
class AuditTrail;
class Authority;
class EgressControl;
class EgressLog;
class Tenants;
class KeyRecords;
class Tokens;
class Secrets;
class BoxSecrets;
class ModelBudgets;
class McpEndpoint;

/// One authenticated request, its body read.
struct Call {
  const http::RequestHead& head;
  std::vector<std::string> parameters;  ///< those of the path, decoded, in order
  std::string body;
  Principal who;       ///< nobody() on open routes
  std::function<Task<void>()> client_gone = {};  ///< ends when the client has hung up
  std::string source = {};  ///< the caller's address; empty where the gate brings it
  bool encrypted = false;  ///< it came over TLS, be it the gate's or a proxy's
  /// It is going to wait in a queue of its own, and gives back its turn as a call.
  std::function<void()> queues = {};
};

/// What handlers work with.
struct Service {
  const config::Config& config;
  store::AsyncStore& store;
  NodeLink& node;
  Sandboxes& sandboxes;
  Snapshots& snapshots;
  EgressControl& egress;
  EgressLog& egress_log;
  TemplateCatalog& catalog;
  TemplateFiles& files;
  TemplateBuilder& builder;
  Metrics& metrics;
  Authority& authority;
  Tenants& tenants;
  KeyRecords& keys;
  Tokens& tokens;
  Secrets& secrets;
  BoxSecrets& box_secrets;
  TenantLimits& limits;
  AuditTrail& trail;
  ModelBudgets& models;
  McpEndpoint& mcp;
};

using RouteHandler = Task<Result<http::Response>> (*)(Service&, const Call&);

struct Route {
  http::Verb method;
  std::string_view pattern;  ///< "/sandboxes/{sandboxID}"; a name in braces stands for one segment
  RouteHandler handler;
  /// What the caller must be allowed to do; nothing: any key or token will do.
  std::optional<policy::Action> action;
  /// What it is called in the audit log, "sandbox.create"; empty: it is not recorded (open routes).
  std::string_view audited;
  bool open = false;  ///< no key is asked for
};

/// Every route there is. Where two patterns fit, the earlier one counts.
std::span<const Route> routes();

struct Match {
  const Route* route = nullptr;  ///< null if none fits
  std::vector<std::string> parameters;
  std::string allowed;  ///< methods the path has, for a 405; empty if the path is unknown
};

Match match_route(std::span<const Route> table, http::Verb method, std::string_view path);

}  // namespace hako::api
