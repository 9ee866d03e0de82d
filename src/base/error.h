// What went wrong, in terms that callers can act on and users can read.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace hako {

/// Stable on the wire; the names are those of Connect RPC, where it has one.
enum class ErrorCode {
  invalid_argument,
  unauthenticated,
  permission_denied,
  not_found,
  already_exists,
  failed_precondition,  // the thing exists but is in the wrong state for this
  resource_exhausted,   // a quota, a limit, a full pool
  no_capacity,          // the machine has no room for it now, whoever asks; try again later
  no_space,             // a disk is full
  too_large,            // a message or body over its limit
  timed_out,
  cancelled,
  unavailable,  // try again later
  corrupted,    // data does not match its checksum or its format
  unsupported,  // this machine or build cannot do it
  internal,
};

/// The snake_case name of `code`, as it appears on the wire.
std::string_view to_string(ErrorCode code);
/// The inverse; `internal` for an unknown name.
ErrorCode error_code_from(std::string_view name);

/// An expected failure: what happened, from the outermost context inwards.
/// Value type. Faults (bugs, broken configuration) are exceptions instead.
class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  /// `what` names the failed call and its object ("open /x/y"); the text of `os_error` is appended
  /// and the code derived from it (ENOENT -> not_found, EACCES -> permission_denied, ...).
  static Error from_errno(int os_error, std::string_view what);

  /// The same error, of which is known that a failed system call is behind it.
  Error with_os_error(int os_error) &&;

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  /// The errno behind this error, or 0.
  int os_error() const { return os_error_; }

  /// When trying again makes sense, for those that pass by themselves; zero: nothing is known.
  std::chrono::seconds retry_after() const { return retry_after_; }
  Error with_retry_after(std::chrono::seconds wait) &&;

  /// The same error seen from one layer up: "<context>: <message>".
  Error with_context(std::string_view context) &&;
  Error with_context(std::string_view context) const&;

 private:
  ErrorCode code_;
  int os_error_ = 0;
  std::chrono::seconds retry_after_{0};
  std::string message_;
};

}  // namespace hako
