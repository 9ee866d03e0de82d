#include "engine/qemu/qemu_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace hako::engine {

namespace json = boost::json;

json::object migration_capabilities() {
  json::array capabilities;
  for (const char* name : {"x-ignore-shared", "events"}) {
    json::object capability;
    capability["capability"] = name;
    capability["state"] = true;
    capabilities.push_back(std::move(capability));
  }
  json::object arguments;
  arguments["capabilities"] = std::move(capabilities);
  return arguments;
}

Result<std::string> status_in(const json::value& answer) {
  const json::object* fields = answer.if_object();
  const json::value* status = fields ? fields->if_contains("status") : nullptr;
  if (!status || !status->is_string())
    return Error(ErrorCode::corrupted, "VMM: query-status without a status");
  return std::string(status->get_string().data(), status->get_string().size());
}

Result<std::pair<Fd, Fd>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

Result<Fd> make_state_source(const std::string& state) {
  // QEMU 7.2 would wait for ever.
  if (state.empty()) return Error(ErrorCode::corrupted, "device state is empty");
  if (state.size() > kMaxDeviceState) return Error(ErrorCode::too_large, "device state over 1 MiB");
  HAKO_TRY(auto ends, make_pipe());
  auto& [reading, writing] = ends;
  int capacity = ::fcntl(writing.get(), F_GETPIPE_SZ);
  if (capacity < static_cast<int>(state.size()) &&
      ::fcntl(writing.get(), F_SETPIPE_SZ, static_cast<int>(state.size())) < 0)
    return Error::from_errno(errno, "enlarge pipe");
  // It fits, so this write cannot block.
  HAKO_TRYV(write_all(writing.get(), state));
  return std::move(reading);
}

Task<Result<std::string>> drain_state(Fd pipe) {
  asio::posix::stream_descriptor stream(co_await asio::this_coro::executor, pipe.release());
  std::string state;
  std::array<char, 16384> buffer;
  for (;;) {
    boost::system::error_code error;
    size_t n = co_await stream.async_read_some(asio::buffer(buffer),
                                               asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::eof) break;
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) co_return Error::from_errno(error.value(), "read device state");
    state.append(buffer.data(), n);
    if (state.size() > kMaxDeviceState)
      co_return Error(ErrorCode::too_large, "VMM sent a device state over 1 MiB");
  }
  co_return std::move(state);
}

}  // namespace hako::engine
