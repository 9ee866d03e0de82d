// The node's answers to messages about templates.
#pragma once

#include "node/boxes.h"
#include "node/template_builds.h"

namespace hako::node {

/// Answers template.* and build.* of docs/internal-messages.md. Thread: the node's executor.
class TemplateService {
 public:
  TemplateService(Context& context, Boxes& boxes, Templates& templates)
      : context_(context), boxes_(boxes), templates_(templates), builds_(context, templates) {}

  /// The builds that one api has begun. They end with its connection: nobody else knows of them.
  using Begun = std::set<std::string>;

  /// Has `peer` answer; `begun` must live as long as it does.
  void attach(rpc::Peer& peer, std::shared_ptr<Begun> begun);
  Task<void> abort_all(std::shared_ptr<Begun> begun);
  /// Ends all builds.
  Task<void> stop() { return builds_.stop(); }

 private:
  using Answer = Task<Result<rpc::Payload>>;
  Answer list(rpc::Payload request);
  Answer remove(rpc::Payload request);
  Task<Result<void>> remove_and_close(std::string name);
  Answer begin(rpc::Payload request, std::shared_ptr<Begun> begun);
  Answer keep_layer(rpc::Payload request);
  Answer use_as_root(rpc::Payload request);
  Answer settle(rpc::Payload request);
  Answer finish(rpc::Payload request);
  Task<Result<Template>> finish_and_close(std::string build, std::string name, Startup startup);
  Answer abort(rpc::Payload request, std::shared_ptr<Begun> begun);

  Context& context_;
  Boxes& boxes_;
  Templates& templates_;
  TemplateBuilds builds_;
};

}  // namespace hako::node
