#include "support/gate_lab_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "base/fd.h"

namespace hako::test {
namespace {

using namespace std::chrono_literals;
using boost::system::error_code;

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

Result<void> shell(const std::string& command) {
  if (std::system(command.c_str()) != 0) return Error(ErrorCode::internal, "failed: " + command);
  return ok();
}

/// Where another process can open what this one has open.
std::string path_of(const Fd& fd) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd.get());
}

Result<void> furnish_gate(const Fd& world) {
  HAKO_TRYV(shell("ip link set lo up && ip link add out type veth peer name in netns " +
                  path_of(world)));
  std::string command = std::string("ip addr add ") + World::kGateLink +
                        "/30 dev out && ip addr add " + World::kGatePublic + "/32 dev lo";
  for (const char* address : {World::kGateFirst, World::kGateSecond})
    command += std::string(" && ip addr add ") + address + "/24 dev out";
  for (const char* address : {World::kGateFirst6, World::kGateSecond6})
    command += std::string(" && ip addr add ") + address + "/64 dev out nodad";
  return shell(command + " && ip link set out up && ip route add default via " + World::kResolver);
}

Result<void> furnish_world() {
  std::string command = std::string("ip link set lo up && ip addr add ") + World::kResolver +
                        "/30 dev in && ip link set in up && ip route add blackhole " +
                        World::kSilent + "/32";
  for (const char* address : {World::kWeb, World::kOther, World::kPrivate, World::kMetadata})
    command += std::string(" && ip addr add ") + address + "/32 dev lo";
  // What the gate sends to its own public address must not come back some other way.
  return shell(command + " && ip route add " + World::kGatePublic + " via " + World::kGateLink);
}

void append_u16(std::string& out, size_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}

}  // namespace

uint64_t digest_of(std::string_view text, uint64_t before) {
  for (unsigned char c : text) before = (before ^ c) * 1099511628211ull;
  return before;
}

std::string pattern_at(uint64_t offset, size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>((offset + i) * 31 % 251);
  return text;
}

World::World(const std::string& directory) {
  netns_ = need(network::in_new_namespace(network::current_namespace));
  gate_netns_ = need(network::in_new_namespace(network::current_namespace));
  need(network::in_namespace(gate_netns_.get(), [this] { return furnish_gate(netns_); }));
  need(inside(furnish_world));
  std::string base = directory + "/world";
  need(shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
             "-subj /CN=world -keyout " + base + ".key -out " + base + ".pem 2>/dev/null"));
  need(tls_.use(need(read_file(base + ".pem")), need(read_file(base + ".key"))));
}

void World::use_certificate(const std::string& certificate, const std::string& key) {
  need(tls_.use(need(read_file(certificate)), need(read_file(key))));
}

Task<void> World::serve() {
  TaskGroup servers(co_await asio::this_coro::executor);
  listen_everywhere(servers);
  std::exception_ptr stopped;
  try {
    co_await serve_dns();
  } catch (...) {
    stopped = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await servers.stop();
  std::rethrow_exception(stopped);
}

void World::listen_everywhere(TaskGroup& servers) {
  auto listen = [this](uint16_t port) {
    return need(inside([port] { return http::listen_tcp("0.0.0.0", port); }));
  };
  http::Handler handler = [this](http::Exchange& exchange) { return web(exchange); };
  http::Welcome welcome = [this](http::Stream stream) { return tls_.welcome(std::move(stream)); };
  for (uint16_t port : {kHttp, kPlainHttp})
    servers.spawn("HTTP", http::serve(listen(port), handler));
  for (uint16_t port : {kHttps, kPlainTls})
    servers.spawn("HTTPS", http::serve(listen(port), handler, {}, welcome));
  servers.spawn("echo", serve_raw(listen(kEcho), &World::echo));
  servers.spawn("greeting", serve_raw(listen(kGreeting), &World::greeting));
  servers.spawn("digest", serve_raw(listen(kDigest), &World::digest));
  servers.spawn("source", serve_raw(listen(kSource), &World::source));
  servers.spawn("urgent", serve_raw(listen(kUrgent), &World::urgent));
}

Task<void> World::serve_raw(Fd listener, Talk talk) {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup talks(executor);
  asio::posix::stream_descriptor ready(executor, listener.release());
  std::exception_ptr stopped;
  try {
    for (;;) {
      co_await ready.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
      Fd accepted(::accept4(ready.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!accepted) continue;
      talks.spawn("talk", counted(talk, http::make_stream(executor, std::move(accepted))));
    }
  } catch (...) {
    stopped = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await talks.stop();
  std::rethrow_exception(stopped);
}

Task<void> World::counted(Talk talk, http::Stream stream) {
  ++connections;
  struct Open {
    int& count;
    explicit Open(int& counted) : count(counted) { ++count; }
    ~Open() { --count; }
  } counting(open);
  try {
    co_await (this->*talk)(std::move(stream));
  } catch (const boost::system::system_error&) {
    // The other end has gone.
  }
}

Task<void> World::echo(http::Stream stream) {
  std::vector<char> buffer(64 << 10);
  error_code error;
  for (;;) {
    size_t count = co_await stream.async_read_some(
        asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    co_await asio::async_write(stream, asio::buffer(buffer.data(), count), asio::use_awaitable);
  }
  if (error == asio::error::eof) stream.shutdown(http::Stream::shutdown_send, error);
}

Task<void> World::greeting(http::Stream stream) {
  co_await asio::async_write(stream, asio::buffer("hello\n", 6), asio::use_awaitable);
  co_await echo(std::move(stream));
}

Task<void> World::urgent(http::Stream stream) {
  char byte;
  co_await asio::async_write(stream, asio::buffer("hello", 5), asio::use_awaitable);
  co_await stream.async_read_some(asio::buffer(&byte, 1), asio::use_awaitable);
  (void)::send(stream.native_handle(), "!", 1, MSG_OOB);
  co_await asio::async_write(stream, asio::buffer(" world", 6), asio::use_awaitable);
  co_await sleep_for(std::chrono::milliseconds(1200));
}

Task<void> World::digest(http::Stream stream) {
  std::vector<char> buffer(256 << 10);
  uint64_t digest = digest_of("");
  uint64_t bytes = 0;
  error_code error;
  for (;;) {
    size_t count = co_await stream.async_read_some(
        asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    digest = digest_of({buffer.data(), count}, digest);
    bytes += count;
  }
  std::string answer = std::to_string(bytes) + " " + std::to_string(digest);
  co_await asio::async_write(stream, asio::buffer(answer), asio::use_awaitable);
}

Task<void> World::source(http::Stream stream) {
  std::string line;
  co_await asio::async_read_until(stream, asio::dynamic_buffer(line), '\n', asio::use_awaitable);
  uint64_t wanted = std::stoull(line);
  for (uint64_t sent = 0; sent < wanted;) {
    std::string piece = pattern_at(sent, std::min<uint64_t>(wanted - sent, 64 << 10));
    co_await asio::async_write(stream, asio::buffer(piece), asio::use_awaitable);
    sent += piece.size();
  }
}

Task<void> World::web(http::Exchange& exchange) {
  const auto& head = exchange.head();
  ++connections;
  requests.push_back(std::string(head.header("Host")) + " " + head.target);
  if (answers) co_return co_await answers(exchange);
  if (!head.header("Upgrade").empty()) {
    auto raw = exchange.take_connection();
    std::string_view other = head.header("X-Becomes");
    std::string answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ";
    answer += other.empty() ? "websocket" : other;
    answer += "\r\nConnection: upgrade\r\n\r\n";
    co_await asio::async_write(raw.stream, asio::buffer(answer), asio::use_awaitable);
    co_return co_await echo(std::move(raw.stream));
  }
  auto body = co_await exchange.read_body(64 << 20);
  auto response = http::Response::text(
      200, "web " + requests.back() + " " + std::to_string(body ? body.value().size() : 0));
  (void)co_await exchange.respond(std::move(response));
}

/// The question's section and answers of type A for it, or NXDOMAIN.
std::string World::answer_to(std::string_view question) {
  std::string name;
  size_t at = 12;
  while (at < question.size() && question[at] != 0) {
    auto length = static_cast<unsigned char>(question[at]);
    name += (name.empty() ? "" : ".") + std::string(question.substr(at + 1, length));
    at += 1 + length;
  }
  if (at + 5 > question.size()) return {};
  for (char& c : name) c = static_cast<char>(std::tolower(c));
  int type = question[at + 1] << 8 | question[at + 2];
  questions.push_back(name);
  auto found = names.find(name);
  std::vector<std::string> addresses;
  if (found != names.end() && type == 1) addresses = found->second;
  std::string answer(question.substr(0, 2));
  answer += found == names.end() ? "\x81\x83" : "\x81\x80";
  append_u16(answer, 1);
  append_u16(answer, addresses.size());
  append_u16(answer, 0);
  append_u16(answer, 0);
  answer += question.substr(12, at + 5 - 12);
  for (const auto& address : addresses) {
    answer += std::string("\xc0\x0c\0\1\0\1\0\0", 8);
    append_u16(answer, static_cast<size_t>(ttl));
    append_u16(answer, 4);
    in_addr bytes{};
    ::inet_pton(AF_INET, address.c_str(), &bytes);
    answer.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  }
  return answer;
}

Task<void> World::serve_dns() {
  Fd made = need(inside([]() -> Result<Fd> {
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(53);
    ::inet_pton(AF_INET, kResolver, &where.sin_addr);
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) != 0)
      return Error::from_errno(errno, "bind the DNS server");
    return socket;
  }));
  asio::posix::stream_descriptor socket(co_await asio::this_coro::executor, made.release());
  for (;;) {
    co_await socket.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    char buffer[2048];
    sockaddr_in from{};
    socklen_t size = sizeof from;
    ssize_t count = ::recvfrom(socket.native_handle(), buffer, sizeof buffer, 0,
                               reinterpret_cast<sockaddr*>(&from), &size);
    if (count < 12) continue;
    std::string answer = answer_to({buffer, static_cast<size_t>(count)});
    (void)::sendto(socket.native_handle(), answer.data(), answer.size(), 0,
                   reinterpret_cast<sockaddr*>(&from), size);
  }
}

}  // namespace hako::test
