#include "support/gate_lab.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "http/relay.h"
#include "http/server.h"
#include "wire/connect.h"
#include "wire/json_text.h"
#include "wire/loopback.h"
#include "wire/process.h"
#include "wire/routing.h"

namespace hako::test {
namespace {

using namespace std::chrono_literals;

std::string last_init, last_order;

Task<void> answer(http::Exchange& exchange, http::Response response) {
  (void)co_await exchange.respond(std::move(response));
}

Task<void> hang(http::Exchange& exchange) {
  http::ResponseHead head;
  (void)co_await exchange.begin_with(std::move(head), asio::buffer("begun", 5));
  co_await exchange.closed_by_client();
}

/// Every way in which a process's stream may go.
Task<void> start_process(http::Exchange& exchange) {
  auto body = co_await exchange.read_body(5 << 20);
  if (!body) co_return exchange.abort();
  wire::FrameDecoder decoder(4 << 20);
  decoder.feed(body.value());
  auto frame = decoder.next();
  auto request = frame && frame.value()
                     ? wire::parse_object(frame.value()->payload)
                     : Result<boost::json::object>(Error(ErrorCode::invalid_argument, "no frame"));
  auto start = request ? wire::parse_start(request.value()) : request.error();
  if (!start) {
    auto refused = http::error_response(start.error());
    co_return co_await answer(exchange, std::move(refused));
  }
  std::string cmd = start.value().process.cmd;
  std::string reply;
  wire::append_start_event(reply, 42);
  if (cmd == "echo") {
    std::string said;
    for (const auto& arg : start.value().process.args) said += arg + " ";
    said += exchange.head().header("Authorization");
    wire::append_data_event(reply, wire::OutputStream::out, said);
    wire::append_data_event(reply, wire::OutputStream::err, "\xff!");
    wire::append_end_event(reply, wire::describe_end(3, 0));
    wire::append_end_frame(reply);
  } else if (cmd == "flood") {
    for (int i = 0; i < 100; ++i)
      wire::append_data_event(reply, wire::OutputStream::out, std::string(30'000, 'f'));
    wire::append_data_event(reply, wire::OutputStream::out, "last");
    wire::append_end_event(reply, wire::describe_end(0, 0));
    wire::append_end_frame(reply);
  } else if (cmd == "refused") {
    reply.clear();
    wire::append_end_frame(reply, Error(ErrorCode::invalid_argument, "cwd '/x' does not exist"));
  } else if (cmd == "rubbish") {
    reply = std::string("\0\xff\xff\xff\xff", 5) + "rubbish";
  } else if (cmd == "unfinished") {
    wire::append_data_event(reply, wire::OutputStream::out, "x");
  }
  http::ResponseHead head;
  head.fields.set(http::Field::content_type, "application/connect+json");
  (void)co_await exchange.begin_with(std::move(head), asio::buffer(reply));
  if (cmd == "hang") co_return co_await exchange.closed_by_client();
  (void)co_await exchange.end();
}

Task<void> daemon(http::Exchange& exchange) {
  auto path = exchange.head().path();
  http::Response response = http::Response::empty();
  // What it does not look at itself, unlike the real one, it shows.
  auto shown = exchange.head().header("X-Access-Token");
  if (!shown.empty())
    response.fields.set("X-Shown-Token", boost::beast::string_view(shown.data(), shown.size()));
  auto key = exchange.head().header("X-API-Key"), tenant = exchange.head().header("X-Hako-Tenant");
  if (path == "/keys")
    response = http::Response::text(200, std::string(key) + "|" + std::string(tenant));
  if (path == "/guarded" && shown != "token1") response.status = 401;
  if (path == "/process.Process/Start") co_return co_await start_process(exchange);
  if (path == "/hang") co_return co_await hang(exchange);
  if (path == "/init") {
    auto body = co_await exchange.read_body(1 << 20);
    if (!body) co_return exchange.abort();
    last_init = body.value();
    if (last_init.find("refuse") != std::string::npos)
      response = http::error_response(409, "generation 1 is not above 2");
  } else if (path == "/freeze" || path == "/thaw") {
    auto body = co_await exchange.read_body(1 << 20);
    if (!body) co_return exchange.abort();
    last_order = std::string(path);
    if (last_init.find("stubborn") != std::string::npos)
      response = http::error_response(504, "cannot be frozen: program 7 (x)");
    if (last_init.find("ancient") != std::string::npos)
      response = http::error_response(404, "no such path");
  } else if (path == "/last-order") {
    response = http::Response::text(200, last_order);
  } else if (path == "/last-init") {
    response = http::Response::text(200, last_init);
  } else if (path.starts_with("/filesystem.") || path.starts_with("/process.") ||
             path == "/files/compose") {
    auto body = co_await exchange.read_body(5 << 20);
    if (!body) co_return exchange.abort();
  } else if (path == "/files") {
    auto body = co_await exchange.read_body(64 << 20);
    if (!body) co_return exchange.abort();
    response.status = 200;
    response.body = "files " + std::string(exchange.head().query());
  } else if (path == "/echo") {
    auto body = co_await exchange.read_body(64 << 20);
    if (!body) co_return exchange.abort();
    response = http::Response::text(200, std::move(body).value());
  } else if (path == "/silent") {
    co_return exchange.abort();
  }
  co_await answer(exchange, std::move(response));
}

Task<void> service(http::Exchange& exchange) {
  const http::RequestHead& head = exchange.head();
  if (head.path() == "/hang") co_return co_await hang(exchange);
  if (head.path() == "/seen" || head.path() == "/keys") {
    std::string seen;
    std::vector<const char*> names{"Host", "X-Forwarded-Host", "e2b-traffic-access-token"};
    if (head.path() == "/keys") names = {"X-API-Key", "X-Hako-Tenant"};
    for (const char* name : names) seen += std::string(head.header(name)) + "|";
    auto response = http::Response::text(200, seen);
    co_return co_await answer(exchange, std::move(response));
  }
  auto response = http::Response::text(
      200, "service " + exchange.head().target + " " + std::string(exchange.head().header("Host")));
  co_await answer(exchange, std::move(response));
}

/// One connection through the guest's relay to its own loopback address.
Task<void> relay_one(http::Stream stream, ScriptedGuest::Kind kind) {
  unsigned char wanted[2];
  boost::system::error_code error;
  co_await asio::async_read(stream, asio::buffer(wanted),
                            asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return;
  auto service = co_await http::connect_tcp("127.0.0.1",
                                            static_cast<uint16_t>(wanted[0] << 8 | wanted[1]), 1s);
  char said = service ? wire::kLoopbackConnected : wire::kLoopbackRefused;
  if (kind == ScriptedGuest::Kind::with_bad_relay) said = 'H';
  co_await asio::async_write(stream, asio::buffer(&said, 1),
                             asio::redirect_error(asio::use_awaitable, error));
  if (!error && service)
    co_await http::tunnel(std::move(stream), {}, std::move(service).value(), {});
}

Task<void> relay_to_loopback(Fd listener, ScriptedGuest::Kind kind) {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup connections(executor);
  asio::posix::stream_descriptor ready(executor, listener.release());
  for (;;) {
    co_await ready.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    Fd accepted(::accept4(ready.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!accepted) continue;
    connections.spawn("relay", relay_one(http::make_stream(executor, std::move(accepted)), kind));
  }
}

void make_address_local(const char* address) {
  Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const char* name : {"lo", "lo:1"}) {
    ifreq request{};
    std::strcpy(request.ifr_name, name);
    if (std::string_view(name) == "lo:1") {
      auto& ip = reinterpret_cast<sockaddr_in&>(request.ifr_addr);
      ip.sin_family = AF_INET;
      ::inet_pton(AF_INET, address, &ip.sin_addr);
      if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0) ::_exit(11);
    }
    request.ifr_flags = IFF_UP;
    if (::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) ::_exit(12);
  }
}

[[noreturn]] void be_guest(Fd ready, ScriptedGuest::Kind kind) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::unshare(CLONE_NEWNET) != 0) ::_exit(10);
  make_address_local(network::kGuestAddress);
  auto first = http::listen_tcp(network::kGuestAddress, wire::kDaemonPort);
  auto second = http::listen_tcp(network::kGuestAddress, ScriptedGuest::kServicePort);
  auto hidden = http::listen_tcp("127.0.0.1", ScriptedGuest::kLoopbackPort);
  auto relay = http::listen_tcp(network::kGuestAddress, wire::kLoopbackRelayPort);
  if (!first || !second || !hidden || !relay) ::_exit(13);
  asio::io_context loop(1);
  http::ServerLimits limits;
  limits.idle = 2s;  // so that kept connections grow stale within a test
  asio::co_spawn(loop, http::serve(std::move(first).value(), daemon, limits), asio::detached);
  asio::co_spawn(loop, http::serve(std::move(second).value(), service), asio::detached);
  asio::co_spawn(loop, http::serve(std::move(hidden).value(), service), asio::detached);
  if (kind == ScriptedGuest::Kind::without_relay) {
    relay.value().reset();
  } else {
    asio::co_spawn(loop, relay_to_loopback(std::move(relay).value(), kind), asio::detached);
  }
  (void)write_all(ready.get(), "r");
  ready.reset();
  loop.run();
  ::_exit(0);
}

}  // namespace

ScriptedGuest::ScriptedGuest(Kind kind) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  Fd read_end(pipe_fds[0]), write_end(pipe_fds[1]);
  pid_ = ::fork();
  if (pid_ == 0) be_guest(std::move(write_end), kind);
  write_end.reset();
  char byte;
  if (::read(read_end.get(), &byte, 1) != 1) throw std::runtime_error("no network namespace");
  auto netns = open_file("/proc/" + std::to_string(pid_) + "/ns/net", O_RDONLY);
  slot_.number = 0;
  slot_.netns = std::move(netns).value();
}

ScriptedGuest::~ScriptedGuest() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::vector<Fd> ScriptedGuest::sockets(int count) const {
  return network::open_sockets(slot_, count).value();
}

int ScriptedGuest::open_connections(uint16_t port) const {
  constexpr int kTimeWait = 6, kListen = 10;
  return count_connections(port, [](int state) { return state != kTimeWait && state != kListen; });
}

int ScriptedGuest::established_connections(uint16_t port) const {
  return count_connections(port, [](int state) { return state == 1; });
}

int ScriptedGuest::count_connections(uint16_t port, bool (*counts)(int state)) const {
  std::ifstream table("/proc/" + std::to_string(pid_) + "/net/tcp");
  std::string line;
  std::getline(table, line);
  int count = 0;
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state;
    fields >> slot >> local >> remote >> state;
    if (std::stoi(local.substr(local.find(':') + 1), nullptr, 16) != port) continue;
    if (counts(std::stoi(state, nullptr, 16))) ++count;
  }
  return count;
}

TestNode::TestNode(std::string socket_path, gid_t gate)
    : listener_(rpc::listen_unix(socket_path, gate).value()), gate_(gate) {}

Task<void> TestNode::serve() {
  auto accept_one = [this](Fd connection, uid_t) { return accept(std::move(connection)); };
  auto accepting = rpc::accept_peers(std::move(listener_), {gate_}, accept_one);
  co_await std::move(accepting);
}

Task<void> TestNode::accept(Fd connection) {
  auto peer =
      std::make_shared<rpc::Peer>(co_await asio::this_coro::executor, std::move(connection));
  peer->on("sockets.want",
           [this](rpc::Payload request) { return give_sockets(std::move(request)); });
  peer->on("egress.records",
           [this](rpc::Payload told) { return take_records(std::move(told), records_); });
  peer->on("access.records",
           [this](rpc::Payload told) { return take_records(std::move(told), access_records_); });
  peer_ = peer;
  ++connections_;
  co_await peer->run();
  if (peer_ == peer) peer_ = nullptr;
}

Task<Result<rpc::Payload>> TestNode::give_sockets(rpc::Payload request) {
  std::string machine(request.body.at("machine").as_string());
  int count = static_cast<int>(request.body.at("count").to_number<int>());
  auto guest = guests_.find(machine);
  if (guest == guests_.end()) co_return Error(ErrorCode::not_found, "no such machine");
  rpc::Payload answer;
  answer.fds = guest->second->sockets(count);
  given_ += count;
  co_return answer;
}

Task<void> TestNode::wait_for_gate() {
  while (!peer_) co_await sleep_for(1ms);
}

Task<Result<rpc::Payload>> TestNode::take_records(rpc::Payload told, Records& into) {
  for (const auto& value : told.body.at("records").as_array()) {
    boost::json::object record = value.as_object();
    record["machine"] = told.body.at("machine");
    record["box"] = told.body.at("box");
    into.push_back(std::move(record));
  }
  co_return rpc::Payload();
}

void TestNode::disconnect() {
  if (auto peer = std::exchange(peer_, nullptr)) peer->close();
}

Task<Result<boost::json::object>> TestNode::order(std::string method, boost::json::object body,
                                                  std::vector<Fd> fds) {
  rpc::Payload payload;
  payload.body = std::move(body);
  payload.fds = std::move(fds);
  auto answer = co_await peer_->call(std::move(method), std::move(payload), 20s);
  if (!answer) co_return answer.error();
  co_return std::move(answer.value().body);
}

Task<Result<boost::json::object>> TestNode::add(std::string machine, const ScriptedGuest& guest) {
  guests_[machine] = &guest;
  boost::json::object body;
  body["machine"] = machine;
  body["address"] = network::kGuestAddress;
  body["sockets"] = 4;
  auto order = this->order("machine.add", std::move(body), guest.sockets(4));
  co_return co_await std::move(order);
}

Task<Result<boost::json::object>> TestNode::add_egress(std::string machine,
                                                       const network::Slot& slot) {
  auto sockets = network::open_egress(slot);
  if (!sockets) co_return sockets.error();
  boost::json::object body;
  body["machine"] = machine;
  body["address"] = network::kGuestAddress;
  body["sockets"] = 0;
  body["egress"] = true;
  std::vector<Fd> fds;
  fds.push_back(std::move(sockets.value().listener));
  fds.push_back(std::move(sockets.value().dns));
  auto order = this->order("machine.add", std::move(body), std::move(fds));
  co_return co_await std::move(order);
}

Task<Result<boost::json::object>> TestNode::publish(std::string machine, std::string box,
                                                    std::string token,
                                                    boost::json::object ingress,
                                                    boost::json::object egress) {
  boost::json::object body;
  body["machine"] = machine;
  body["box"] = box;
  if (!token.empty()) body["access_token"] = token;
  if (!ingress.empty()) body["ingress"] = std::move(ingress);
  if (!egress.empty()) body["egress"] = std::move(egress);
  auto order = this->order("machine.publish", std::move(body));
  co_return co_await std::move(order);
}

GateProcess::GateProcess(asio::any_io_executor executor, const std::string& directory,
                         const std::string& settings, std::string program,
                         std::vector<std::string> variables) {
  std::string config = directory + "/hako.toml";
  (void)write_file_atomically(
      config, "[paths]\nrun = \"" + directory + "\"\n[gate]\n" + settings, 0644);
  Fd listener = http::listen_tcp("127.0.0.1", 0).value();
  port_ = http::local_port(listener);
  ProcessSpec spec;
  spec.path = std::move(program);
  spec.argv = {"hako-gate", "--config", config, "--listen-fd", "3"};
  spec.env = std::move(variables);
  spec.env.push_back("PATH=/usr/bin:/bin");
  // Looking for leaks needs ptrace, which a confined gate has not got.
  spec.env.push_back("ASAN_OPTIONS=detect_leaks=0");
  spec.fds = {{2, 2}, {listener.get(), 3}};
  process_.emplace(spawn(executor, spec).value());
}

}  // namespace hako::test
