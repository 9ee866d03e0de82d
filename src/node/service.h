// The node's side of the messages from the api.
#pragma once

#include "node/template_service.h"

namespace hako::node {

/// Answers the methods of docs/internal-messages.md and tells every connected api of boxes that
/// have ended. Thread: the node's executor.
class Service {
 public:
  Service(Context& context, Boxes& boxes, Templates& templates, Checkpoints& checkpoints);

  /// Serves one connection from an api until it ends.
  Task<void> serve(Fd connection);
  /// Ends what template builds are under way.
  Task<void> stop_builds() { return template_service_.stop(); }
  void tell_gone(const std::string& box, EndReason reason, const std::string& detail);
  void tell_records(RecordKind kind, BoxRecords records);

 private:
  using Answer = Task<Result<rpc::Payload>>;
  /// not_found if the message names a tenant, and the box is another's.
  Result<void> check_tenant(const boost::json::object& body, const std::string& box) const;
  Answer info(rpc::Payload request);
  Answer create_box(rpc::Payload request);
  Answer destroy_box(rpc::Payload request);
  Answer set_end(rpc::Payload request);
  Answer set_egress(rpc::Payload request);
  Answer list_boxes(rpc::Payload request);
  Answer console(rpc::Payload request);
  Answer api_certificate(rpc::Payload request);
  Answer checkpoint_box(rpc::Payload request);
  Answer fork_box(rpc::Payload request);
  Answer roll_back_box(rpc::Payload request);
  Answer remove_checkpoint(rpc::Payload request);
  Answer list_checkpoints(rpc::Payload request);

  Context& context_;
  Boxes& boxes_;
  Templates& templates_;
  Checkpoints& checkpoints_;
  TemplateService template_service_;
  std::set<std::shared_ptr<rpc::Peer>> peers_;
};

}  // namespace hako::node
