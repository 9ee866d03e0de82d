#include "engine/qemu/qmp_client.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace hako::engine::qmp {

namespace json = boost::json;

namespace {

/// A guest can cause events; only the latest few can be ones that a call of ours waits for.
constexpr size_t kMaxEvents = 64;

Error gone(int os_error) {
  if (os_error == 0) return Error(ErrorCode::unavailable, "VMM closed its control channel");
  return Error(ErrorCode::unavailable,
               std::string("VMM control channel: ") + std::strerror(os_error));
}

/// As send(2), with a descriptor beside the bytes.
ssize_t send_with_fd(int socket, std::string_view bytes, int fd) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

Result<Client> Client::connect(asio::any_io_executor executor, const std::string& path) {
  asio::local::stream_protocol::socket socket(executor);
  boost::system::error_code error;
  socket.open(asio::local::stream_protocol(), error);
  // Else it would wait while the backlog is full: a VMM decides itself whether it accepts.
  if (!error) socket.native_non_blocking(true, error);
  if (error) return Error::from_errno(error.value(), "connect " + path);
  asio::local::stream_protocol::endpoint there(path);
  if (::connect(socket.native_handle(), there.data(), static_cast<socklen_t>(there.size())) == 0)
    return Client(std::move(socket));
  if (errno == EAGAIN)
    return Error(ErrorCode::timed_out, "connect " + path + ": the VMM takes no connections");
  if (errno == ECONNREFUSED)
    return Error(ErrorCode::unavailable, "connect " + path + ": nobody listens");
  return Error::from_errno(errno, "connect " + path);
}

Task<Result<std::vector<json::value>>> Client::call_all(std::vector<Command> commands,
                                                        Duration limit, int fd) {
  co_return co_await with_deadline(limit, exchange(std::move(commands), fd));
}

Task<Result<json::value>> Client::call(Command command, Duration limit, int fd) {
  std::vector<Command> commands;
  commands.push_back(std::move(command));
  HAKO_CO_TRY(auto values, co_await call_all(std::move(commands), limit, fd));
  json::value first = std::move(values.front());
  co_return std::move(first);
}

Task<Result<std::string>> Client::wait_status(std::string name, std::vector<std::string> statuses,
                                              Duration limit) {
  co_return co_await with_deadline(limit, await_status(std::move(name), std::move(statuses)));
}

Task<Result<std::vector<json::value>>> Client::exchange(std::vector<Command> commands, int fd) {
  std::string bytes;
  int64_t first = next_id_;
  for (const Command& command : commands)
    bytes += format_command(command.name, command.arguments, next_id_++);
  HAKO_CO_TRYV(co_await send(std::move(bytes), fd));

  std::vector<json::value> values(commands.size());
  std::optional<Error> refused;
  for (size_t answered = 0; answered < commands.size();) {
    HAKO_CO_TRY(auto message, co_await receive());
    if (auto* reply = std::get_if<Return>(&message)) {
      if (!reply->id || *reply->id < first) continue;  // of a call that was given up
      if (*reply->id >= next_id_)
        co_return Error(ErrorCode::corrupted, "VMM answered what was not asked");
      values[static_cast<size_t>(*reply->id - first)] = std::move(reply->value);
      ++answered;
    } else if (auto* failure = std::get_if<Failure>(&message)) {
      if (failure->id && *failure->id < first) continue;
      std::string what = "VMM: ";
      if (failure->id && *failure->id < next_id_)
        what += commands[static_cast<size_t>(*failure->id - first)].name + ": ";
      if (!refused) refused = Error(ErrorCode::failed_precondition, what + failure->description);
      if (!failure->id) co_return *refused;
      ++answered;
    } else if (auto* event = std::get_if<Event>(&message)) {
      keep(std::move(*event));
    }
  }
  if (refused) co_return *refused;
  co_return std::move(values);
}

Task<Result<std::string>> Client::await_status(std::string name,
                                               std::vector<std::string> statuses) {
  for (;;) {
    while (!events_.empty()) {
      Event event = std::move(events_.front());
      events_.pop_front();
      const json::value* status = event.data.if_contains("status");
      if (event.name != name || !status || !status->is_string()) continue;
      std::string text(status->get_string().data(), status->get_string().size());
      if (std::find(statuses.begin(), statuses.end(), text) != statuses.end()) co_return text;
    }
    HAKO_CO_TRY(auto message, co_await receive());
    if (auto* event = std::get_if<Event>(&message)) keep(std::move(*event));
  }
}

Task<Result<void>> Client::send(std::string bytes, int fd) {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    ssize_t n = send_with_fd(socket_.native_handle(), rest, fd);
    if (n >= 0) {
      rest.remove_prefix(static_cast<size_t>(n));
      fd = -1;
    } else if (errno == EAGAIN) {
      boost::system::error_code error;
      co_await socket_.async_wait(asio::socket_base::wait_write,
                                  asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
      if (error) co_return gone(error.value());
    } else if (errno != EINTR) {
      co_return gone(errno);
    }
  }
  co_return ok();
}

Task<Result<Message>> Client::receive() {
  std::array<char, 16384> buffer;
  for (;;) {
    HAKO_CO_TRY(auto message, parser_.next());
    if (message) co_return std::move(*message);
    boost::system::error_code error;
    size_t n = co_await socket_.async_read_some(asio::buffer(buffer),
                                                asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error == asio::error::eof) co_return gone(0);
    if (error) co_return gone(error.value());
    parser_.feed(std::string_view(buffer.data(), n));
  }
}

void Client::keep(Event event) {
  if (events_.size() == kMaxEvents) events_.pop_front();
  events_.push_back(std::move(event));
}

}  // namespace hako::engine::qmp
