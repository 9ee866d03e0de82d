#include "api/user_error.h"

#include <boost/json.hpp>

#include "base/log.h"
#include "base/random.h"

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kReferenceBytes = 6;

/// What the node says of a guest that did not start (template_builder.cpp) holds nothing of the
/// server's but the end of that guest's console, and no one can mend a template without it.
bool tells_of_guest(const Error& error) {
  return error.message().find("did not come up") != std::string::npos;
}

/// A system call that failed is never the user's, whatever code it came with.
bool is_of_user(const Error& error) {
  if (error.os_error() != 0) return false;
  switch (error.code()) {
    case ErrorCode::not_found:
    case ErrorCode::already_exists:
    case ErrorCode::invalid_argument:
    case ErrorCode::failed_precondition:
    case ErrorCode::resource_exhausted:
    case ErrorCode::no_capacity:
    case ErrorCode::too_large:
      return true;
    default:
      return false;
  }
}

}  // namespace

Error error_for_user(const Error& error, std::string_view what) {
  if (is_of_user(error)) return error;
  if (tells_of_guest(error)) {
    json::object told;
    told["code"] = to_string(error.code());
    told["error"] = error.message();
    log(LogLevel::warn, what, std::move(told));
    return error;
  }
  std::string reference = random_hex(kReferenceBytes);
  json::object fields;
  fields["code"] = to_string(error.code());
  fields["error"] = error.message();
  fields["reference"] = reference;
  // That the node has gone was said once, by the link; each request that misses it need not be.
  log(error.code() == ErrorCode::unavailable ? LogLevel::debug : LogLevel::warn, what,
      std::move(fields));
  switch (error.code()) {
    case ErrorCode::unavailable:
      return Error(error.code(), "the node is not available at the moment; try again");
    case ErrorCode::timed_out:
      return Error(error.code(), "the node did not answer in time");
    case ErrorCode::no_space:
      return Error(ErrorCode::no_capacity, "the server's disk is full; try again later");
    case ErrorCode::resource_exhausted:
      return Error(ErrorCode::no_capacity, "the server is out of memory or open files; try again later");
    default:
      return Error(ErrorCode::internal, "internal error (reference " + reference + ")");
  }
}

}  // namespace hako::api
