#include "base/error.h"

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace hako {
namespace {

constexpr std::array<std::pair<ErrorCode, std::string_view>, 16> kNames{{
    {ErrorCode::invalid_argument, "invalid_argument"},
    {ErrorCode::unauthenticated, "unauthenticated"},
    {ErrorCode::permission_denied, "permission_denied"},
    {ErrorCode::not_found, "not_found"},
    {ErrorCode::already_exists, "already_exists"},
    {ErrorCode::failed_precondition, "failed_precondition"},
    {ErrorCode::resource_exhausted, "resource_exhausted"},
    {ErrorCode::no_capacity, "no_capacity"},
    {ErrorCode::no_space, "no_space"},
    {ErrorCode::too_large, "too_large"},
    {ErrorCode::timed_out, "timed_out"},
    {ErrorCode::cancelled, "cancelled"},
    {ErrorCode::unavailable, "unavailable"},
    {ErrorCode::corrupted, "corrupted"},
    {ErrorCode::unsupported, "unsupported"},
    {ErrorCode::internal, "internal"},
}};

ErrorCode code_of_errno(int os_error) {
  switch (os_error) {
    case ENOENT: case ESRCH: return ErrorCode::not_found;
    case EEXIST: return ErrorCode::already_exists;
    case EACCES: case EPERM: return ErrorCode::permission_denied;
    case EINVAL: case ENAMETOOLONG: case ENOTDIR: case EISDIR: case ELOOP:
      return ErrorCode::invalid_argument;
    case ENOSPC: case EDQUOT: return ErrorCode::no_space;
    case ENOMEM: case EMFILE: case ENFILE: return ErrorCode::resource_exhausted;
    case EBUSY: case EADDRINUSE: case ENOTEMPTY: return ErrorCode::failed_precondition;
    case ETIMEDOUT: return ErrorCode::timed_out;
    case ECANCELED: return ErrorCode::cancelled;
    case ECONNREFUSED: case ECONNRESET: case EPIPE: case EAGAIN:
    case ENETUNREACH: case EHOSTUNREACH: return ErrorCode::unavailable;
    case ENOSYS: case EOPNOTSUPP: return ErrorCode::unsupported;
    default: return ErrorCode::internal;
  }
}

}  // namespace

std::string_view to_string(ErrorCode code) {
  for (const auto& [value, name] : kNames)
    if (value == code) return name;
  return "internal";
}

ErrorCode error_code_from(std::string_view name) {
  for (const auto& [value, text] : kNames)
    if (text == name) return value;
  return ErrorCode::internal;
}

Error Error::from_errno(int os_error, std::string_view what) {
  Error error(code_of_errno(os_error),
              std::string(what) + ": " + std::generic_category().message(os_error));
  error.os_error_ = os_error;
  return error;
}

Error Error::with_os_error(int os_error) && {
  os_error_ = os_error;
  return std::move(*this);
}

Error Error::with_retry_after(std::chrono::seconds wait) && {
  retry_after_ = wait;
  return std::move(*this);
}

Error Error::with_context(std::string_view context) && {
  message_.insert(0, std::string(context) + ": ");
  return std::move(*this);
}

Error Error::with_context(std::string_view context) const& {
  return Error(*this).with_context(context);
}

}  // namespace hako
