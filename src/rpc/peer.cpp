#include "rpc/peer.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "base/log.h"
#include "rpc/frame.h"

namespace hako::rpc {

static_assert(Peer::kLongestFrame == kLongestFrame && Peer::kMostFds == kMostFdsInFrame);

namespace {

constexpr size_t kReadSize = 64 << 10;
constexpr int kReadsPerTurn = 16;

using Descriptor = asio::posix::stream_descriptor;

struct Outgoing {
  std::string bytes;
  size_t sent = 0;
  std::vector<Fd> fds;
};

/// A call that waits for its answer; the timer ends at the deadline or is cancelled by the answer.
struct Pending {
  Pending(asio::any_io_executor executor, Duration deadline) : timer(executor, deadline) {}
  asio::steady_timer timer;
  std::optional<Result<Payload>> result;

  void finish(Result<Payload> with) {
    if (result) return;
    result.emplace(std::move(with));
    timer.cancel();
  }
};

/// Sends what the socket takes of `frame`; descriptors go with its first byte. 0, or an errno.
int send_some(int socket, Outgoing& frame) {
  iovec data{frame.bytes.data() + frame.sent, frame.bytes.size() - frame.sent};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostFdsInFrame)];
  if (!frame.fds.empty()) {
    std::memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * frame.fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * frame.fds.size());
    for (size_t i = 0; i < frame.fds.size(); ++i) {
      int fd = frame.fds[i].get();
      std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  ssize_t n;
  do {
    n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno;
  frame.sent += static_cast<size_t>(n);
  frame.fds.clear();
  return 0;
}

enum class Received { some, nothing_yet, end, broken };

/// Takes what is there into `decoder`.
Received receive_some(int socket, std::vector<char>& buffer, FrameDecoder& decoder) {
  iovec space{buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostFdsInFrame)];
  msghdr message{};
  message.msg_iov = &space;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN ? Received::nothing_yet : Received::broken;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      decoder.add_fd(Fd(fd));
    }
  }
  // Truncated: descriptors were lost (too many of them, or ours ran out), so which frame has which
  // can no longer be told.
  if (message.msg_flags & MSG_CTRUNC) return Received::broken;
  if (n == 0) return Received::end;
  decoder.add_bytes(std::string_view(buffer.data(), static_cast<size_t>(n)));
  return Received::some;
}

}  // namespace

/// Shared between the Peer and every coroutine that works for it, so each may outlive the others.
struct Peer::Impl {
  Impl(asio::any_io_executor executor, Fd connection)
      : executor(executor), socket(executor), tasks(executor) {
    int flags = ::fcntl(connection.get(), F_GETFL);
    ::fcntl(connection.get(), F_SETFL, flags | O_NONBLOCK);
    socket.assign(connection.get());
    (void)connection.release();  // only now: what is not taken must be closed
  }

  void close();
  void close_broken(std::string_view reason);
  Result<void> send(Message message);
  void flush(const std::shared_ptr<Impl>& self);
  void dispatch(const std::shared_ptr<Impl>& self, Message message);
  void finish_call(Message message);

  static Task<void> drain(std::shared_ptr<Impl> self);
  static Task<void> read_loop(std::shared_ptr<Impl> self);
  static Task<void> run(std::shared_ptr<Impl> self);
  static Task<void> serve(std::shared_ptr<Impl> self, const Handler& handler, bool wants_answer,
                          uint64_t id, std::string method, Payload payload);
  static Task<Result<Payload>> call(std::shared_ptr<Impl> self, std::string method, Payload payload,
                                    Duration deadline);

  asio::any_io_executor executor;
  Descriptor socket;
  TaskGroup tasks;
  std::map<std::string, Handler> handlers;
  FrameDecoder decoder;
  std::deque<Outgoing> outgoing;
  size_t queued_bytes = 0;
  bool draining = false;
  bool closed = false;
  uint64_t next_id = 1;
  size_t requests_running = 0;
  std::unordered_map<uint64_t, std::shared_ptr<Pending>> pending;
};

void Peer::Impl::close() {
  if (closed) return;
  closed = true;
  boost::system::error_code ignored;
  socket.close(ignored);
  outgoing.clear();
  queued_bytes = 0;
  auto waiting = std::exchange(pending, {});
  for (auto& [id, call] : waiting)
    call->finish(Error(ErrorCode::unavailable, "the connection has ended"));
}

void Peer::Impl::close_broken(std::string_view reason) {
  if (!closed) log_warn("rpc_connection_broken", {{"reason", reason}});
  close();
}

Result<void> Peer::Impl::send(Message message) {
  if (closed) return Error(ErrorCode::unavailable, "the connection has ended");
  HAKO_TRY(auto bytes, encode_frame(message));
  if (queued_bytes + bytes.size() > kMostQueuedBytes)
    return Error(ErrorCode::resource_exhausted, "the other side does not read its messages");
  queued_bytes += bytes.size();
  Outgoing frame;
  frame.bytes = std::move(bytes);
  frame.fds = std::move(message.fds);
  outgoing.push_back(std::move(frame));
  return ok();
}

/// Writes at once what the socket takes; only what is left waits for a coroutine.
void Peer::Impl::flush(const std::shared_ptr<Impl>& self) {
  while (!closed && !draining && !outgoing.empty()) {
    int error = send_some(socket.native_handle(), outgoing.front());
    if (error == EAGAIN || error == EWOULDBLOCK) {
      draining = true;
      tasks.spawn("rpc_write", drain(self));
    } else if (error != 0) {
      close();
    } else if (outgoing.front().sent == outgoing.front().bytes.size()) {
      queued_bytes -= outgoing.front().bytes.size();
      outgoing.pop_front();
    }
  }
}

Task<void> Peer::Impl::drain(std::shared_ptr<Impl> self) {
  boost::system::error_code error;
  co_await self->socket.async_wait(Descriptor::wait_write,
                                   asio::redirect_error(asio::use_awaitable, error));
  self->draining = false;
  if (error)
    self->close();
  else
    self->flush(self);
}

void Peer::Impl::finish_call(Message message) {
  auto found = pending.find(message.id);
  if (found == pending.end()) return;  // its caller has given up
  auto call = std::move(found->second);
  pending.erase(found);
  if (message.error) {
    call->finish(std::move(*message.error));
  } else {
    Payload payload;
    payload.body = std::move(message.body);
    payload.fds = std::move(message.fds);
    call->finish(std::move(payload));
  }
}

void Peer::Impl::dispatch(const std::shared_ptr<Impl>& self, Message message) {
  if (message.kind == Message::Kind::answer || message.kind == Message::Kind::failure) {
    finish_call(std::move(message));
    return;
  }
  bool wants_answer = message.kind == Message::Kind::request;
  auto handler = handlers.find(message.method);
  bool full = requests_running >= kMostRequestsAtOnce;
  if (handler != handlers.end() && !full) {
    Payload payload;
    payload.body = std::move(message.body);
    payload.fds = std::move(message.fds);
    ++requests_running;
    tasks.spawn("rpc " + message.method, serve(self, handler->second, wants_answer, message.id,
                                               message.method, std::move(payload)));
    return;
  }
  if (!wants_answer) {
    // Nobody would learn that it was lost.
    close_broken(full ? "too many messages at once" : "message of an unknown kind");
    return;
  }
  Message answer;
  answer.kind = Message::Kind::failure;
  answer.id = message.id;
  answer.error = full ? Error(ErrorCode::resource_exhausted, "too many requests at once")
                      : Error(ErrorCode::unsupported, "unknown method " + message.method);
  if (auto sent = send(std::move(answer)); !sent) close();
  flush(self);
}

Task<void> Peer::Impl::serve(std::shared_ptr<Impl> self, const Handler& handler, bool wants_answer,
                             uint64_t id, std::string method, Payload payload) {
  Message answer;
  answer.kind = Message::Kind::failure;
  answer.id = id;
  try {
    auto task = handler(std::move(payload));
    auto result = co_await std::move(task);
    if (result) {
      answer.kind = Message::Kind::answer;
      answer.body = std::move(result.value().body);
      answer.fds = std::move(result.value().fds);
    } else {
      answer.error = result.error();
    }
  } catch (const std::exception& fault) {
    auto system = dynamic_cast<const boost::system::system_error*>(&fault);
    if (system && system->code() == asio::error::operation_aborted) {
      answer.error = Error(ErrorCode::cancelled, method + " was cancelled");
    } else {
      log_error("rpc_handler_failed", {{"method", method}, {"error", fault.what()}});
      answer.error = Error(ErrorCode::internal, method + " failed");
    }
  }
  --self->requests_running;
  if (!wants_answer) {
    if (answer.error && !self->closed)
      log_warn("rpc_notice_failed", {{"method", method}, {"error", answer.error->message()}});
    co_return;
  }
  auto sent = self->send(std::move(answer));
  if (!sent && !self->closed && sent.error().code() != ErrorCode::resource_exhausted) {
    // The answer itself cannot be sent: say why instead.
    Message refusal;
    refusal.kind = Message::Kind::failure;
    refusal.id = id;
    refusal.error = sent.error().with_context("answer to " + method);
    sent = self->send(std::move(refusal));
  }
  // An answer may not be lost while the connection lives.
  if (!sent && !self->closed) self->close_broken(sent.error().message());
  self->flush(self);
}

Task<void> Peer::Impl::read_loop(std::shared_ptr<Impl> self) {
  std::vector<char> buffer(kReadSize);
  while (!self->closed) {
    boost::system::error_code error;
    co_await self->socket.async_wait(Descriptor::wait_read,
                                     asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    for (int reads = 0; reads < kReadsPerTurn && !self->closed; ++reads) {
      Received received = receive_some(self->socket.native_handle(), buffer, self->decoder);
      if (received == Received::nothing_yet) break;
      if (received == Received::broken) self->close_broken("receiving failed");
      if (received != Received::some) co_return;
      while (!self->closed) {
        auto next = self->decoder.next();
        if (!next) {
          self->close_broken(next.error().message());
          co_return;
        }
        if (!next.value()) break;
        self->dispatch(self, std::move(*next.value()));
      }
    }
  }
}

Task<void> Peer::Impl::run(std::shared_ptr<Impl> self) {
  std::exception_ptr fault;
  try {
    co_await read_loop(self);
  } catch (...) {
    fault = std::current_exception();
  }
  auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
  co_await shield_from_cancellation();
  self->close();
  co_await self->tasks.stop();
  if (fault) std::rethrow_exception(fault);
  if (cancelled != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
}

Task<Result<Payload>> Peer::Impl::call(std::shared_ptr<Impl> self, std::string method,
                                       Payload payload, Duration deadline) {
  Message request;
  request.kind = Message::Kind::request;
  request.id = self->next_id++;
  request.method = std::move(method);
  request.body = std::move(payload.body);
  request.fds = std::move(payload.fds);
  uint64_t id = request.id;
  std::string name = request.method;
  HAKO_CO_TRYV(self->send(std::move(request)));

  auto waiting = std::make_shared<Pending>(self->executor, deadline);
  self->pending.emplace(id, waiting);
  // However this ends, nobody waits for the answer any more.
  struct Forget {
    Impl& impl;
    uint64_t id;
    ~Forget() { impl.pending.erase(id); }
  } forget{*self, id};
  self->flush(self);
  boost::system::error_code error;
  if (!waiting->result)
    co_await waiting->timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (waiting->result) co_return std::move(*waiting->result);
  if (error) throw boost::system::system_error(asio::error::operation_aborted);
  co_return Error(ErrorCode::timed_out, name + " was not answered in time");
}

Peer::Peer(asio::any_io_executor executor, Fd connection)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(connection))) {}

Peer::~Peer() {
  impl_->close();
  impl_->tasks.cancel();
}

void Peer::on(std::string method, Handler handler) {
  assert(handler);
  impl_->handlers[std::move(method)] = std::move(handler);
}

Task<void> Peer::run() {
  return Impl::run(impl_);
}

Task<Result<Payload>> Peer::call(std::string method, Payload payload, Duration deadline) {
  return Impl::call(impl_, std::move(method), std::move(payload), deadline);
}

Result<void> Peer::tell(std::string method, Payload payload) {
  Message notice;
  notice.kind = Message::Kind::notice;
  notice.method = std::move(method);
  notice.body = std::move(payload.body);
  notice.fds = std::move(payload.fds);
  HAKO_TRYV(impl_->send(std::move(notice)));
  impl_->flush(impl_);
  return ok();
}

void Peer::close() {
  impl_->close();
}

bool Peer::closed() const {
  return impl_->closed;
}

}  // namespace hako::rpc
