// What a request to a box's daemon does, as records tell it. Pure.
#pragma once

#include <boost/json/object.hpp>

#include "gate/access_records.h"
#include "http/message.h"
#include "wire/process.h"
#include "wire/services.h"

namespace hako::gate {

/// One request, by its head.
struct AccessCall {
  /// When enough is known to tell of it.
  enum class Told {
    never,       ///< it is of no interest: a look at what a caller has been told of already
    with_answer,
    with_message,  ///< its answer may come much later
    at_end,        ///< with how much was moved
  };
  std::string_view kind = "request";
  std::string_view action = "other";
  Told told = Told::with_answer;
  /// Whether its first message says what it is about; and as what it is read: by its method, or, if
  /// there is none, as JSON.
  bool has_message = false;
  const wire::Method* method = nullptr;
};

AccessCall call_of(const http::RequestHead& head);

/// What the head alone says: user, path.
AccessRecord record_of(const http::RequestHead& head, const AccessCall& call);
/// Adds what the message says: the command line, the path. What is not as it must be is told in
/// `reason`; the guest, which is asked all the same, refuses it.
void add_message(AccessRecord& record, const AccessCall& call, const boost::json::object& message);

/// The program and its arguments as one would type them.
std::string command_line(const wire::ProcessConfig& process);

}  // namespace hako::gate
