// One call of a model: reserved before it is made, counted as it is answered, settled at its end.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "gate/body_room.h"
#include "gate/broker_link.h"
#include "http/server.h"
#include "wire/model_usage.h"

namespace hako::gate {

/// Who calls which model of which host.
struct ModelCaller {
  BrokerLink& broker;
  std::string box;
  std::string host;
  uint16_t port;
  wire::ModelApi api;
};

/// Settles what was reserved when it goes, whatever has become of the call.
class ModelCall {
 public:
  /// The longest body of a call, bytes.
  static constexpr size_t kLongestBody = 32 << 20;

  /// Why a call is not made, and how its client is told.
  struct Refusal {
    unsigned status = 403;
    std::string reason;
  };

  explicit ModelCall(ModelCaller caller) : caller_(std::move(caller)) {}
  ~ModelCall();
  ModelCall(const ModelCall&) = delete;

  /// Reads what the call asks for, and reserves it; changes `body` where the answer would not say what
  /// it cost otherwise. Nothing: it may be made. Cancel: safe.
  Task<std::optional<Refusal>> begin(const wire::ModelRoute& route, std::string path,
                                     std::string& body);
  const std::string& model() const { return model_; }

  /// From now on the server may have got some of it.
  void sent() { sent_ = true; }
  void answered(const http::ResponseHead& head);
  void feed(std::string_view piece);
  /// `in_order`: the answer has come to its end.
  void end(bool in_order);

 private:
  ModelCaller caller_;
  std::string reservation_, model_;
  wire::ModelDialect dialect_ = wire::ModelDialect::messages;
  bool sent_ = false;
  unsigned status_ = 0;  ///< of the answer; 0: there is none
  std::optional<wire::UsageCounter> counter_;
};

/// Reads a call whole. `taken` grows with it. too_large; resource_exhausted: the box, or all boxes
/// together, have so much under way that there is no room for it now; else the connection broke.
Task<Result<std::string>> read_call(http::Exchange& exchange, BodyRoom::Taken& taken);

/// Why servers might read another call than we do, whatever the body says; empty if they do not.
std::string odd_head(const http::RequestHead& head);

/// Says no to a client of a model's API, in the form that it reads, and that it need not try again.
http::Response model_refusal(wire::ModelApi api, const ModelCall::Refusal& refusal);

}  // namespace hako::gate
