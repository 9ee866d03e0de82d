#include "support/gate_lab_egress.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "base/random.h"

namespace hako::test {
namespace {

using boost::system::error_code;

constexpr char kMachine[] = "m1-1";
constexpr char kBox[] = "box1";

sockaddr_in endpoint_of(const std::string& address, uint16_t port) {
  sockaddr_in endpoint{};
  endpoint.sin_family = AF_INET;
  endpoint.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &endpoint.sin_addr);
  return endpoint;
}

std::string dns_question(const std::string& name, int type, bool edns) {
  std::string question("\x12\x34\x01\0\0\1\0\0\0\0\0", 11);
  question += edns ? '\1' : '\0';
  for (size_t start = 0; start < name.size();) {
    size_t dot = std::min(name.find('.', start), name.size());
    question += static_cast<char>(dot - start);
    question += name.substr(start, dot - start);
    start = dot + 1;
  }
  question += '\0';
  question += static_cast<char>(type >> 8);
  question += static_cast<char>(type);
  question += std::string("\0\1", 2);
  if (edns) question += std::string("\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
  return question;
}

std::vector<policy::Target> targets(const std::string& list) {
  std::vector<policy::Target> targets;
  std::istringstream entries(list);
  for (std::string entry; entries >> entry;)
    targets.push_back(policy::parse_target(entry).value());
  return targets;
}

DnsReply reply_of(std::string message, size_t question_size) {
  DnsReply reply;
  if (message.size() < 12) return reply;
  reply.rcode = message[3] & 0xf;
  int answers = message[6] << 8 | message[7];
  // Name (a pointer), type, class, TTL, length; then the address.
  if (answers == 1 && message.size() >= question_size + 16) {
    char text[INET_ADDRSTRLEN];
    reply.address = ::inet_ntop(AF_INET, message.data() + question_size + 12, text, sizeof text);
  }
  reply.text = std::move(message);
  return reply;
}

}  // namespace

void EgressTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for network namespaces";
  char name[] = "/tmp/hako-egress-test-XXXXXX";
  directory_ = ::mkdtemp(name);
  ::chmod(directory_.c_str(), 0755);
  slots_ = "/run/hako-test-" + random_hex(4);
  // What the gate bounds is to be seen, and not what the kernel does before it.
  network::SlotLimits none;
  none.packets_per_second = none.connects_per_second = none.names_per_second = 1'000'000;
  slot_ = network::create_slot(slots_, 1, none).value();
  guest_.emplace(*slot_);
  world_.emplace(directory_);
  world_->names["web.example"] = {World::kWeb};
  world_->names["other.example"] = {World::kOther};
}

void EgressTest::TearDown() {
  guest_.reset();
  slot_.reset();
  if (!slots_.empty()) {
    EXPECT_TRUE(network::destroy_slot(slots_, 1));
    EXPECT_TRUE(network::release_slots(slots_));
  }
  if (!directory_.empty()) std::filesystem::remove_all(directory_);
}

void EgressTest::start_gate() {
  auto executor = loop_.get_executor();
  auto started = network::in_namespace(world_->gate_netns().get(), [&]() -> Result<void> {
    gate_.emplace(executor, directory_,
                  gate_settings() + "[egress]\nresolvers = [\"" + World::kResolver + "\"]\n",
                  gate_program(), gate_environment());
    return ok();
  });
  if (!started) throw std::runtime_error(started.error().message());
}

Task<void> EgressTest::announce() {
  co_await node_->wait_for_gate();
  auto added = co_await node_->add_egress(kMachine, *slot_);
  if (!added) throw std::runtime_error(added.error().message());
  auto publish = node_->publish(kMachine, kBox, {}, {}, policy::to_json(policy_));
  auto published = co_await std::move(publish);
  if (!published) throw std::runtime_error(published.error().message());
}

Task<void> EgressTest::run_all(Task<void> body) {
  auto executor = co_await asio::this_coro::executor;
  node_.emplace(directory_ + "/gate-control.sock", config::Config().gate_uid);
  start_gate();
  TaskGroup tasks(executor);
  tasks.spawn("node", node_->serve());
  tasks.spawn("world", world_->serve());
  std::exception_ptr fault;
  try {
    co_await announce();
    co_await std::move(body);
  } catch (...) {
    fault = std::current_exception();
  }
  gate_->process().send_signal(SIGTERM);
  auto status = co_await gate_->process().wait();
  EXPECT_EQ(status.code, 0) << status.describe();
  co_await tasks.stop();
  if (fault) std::rethrow_exception(fault);
}

policy::EgressPolicy EgressTest::allow(const std::string& list) {
  policy::EgressLayer layer;
  layer.name = "request";
  layer.level = policy::EgressLevel::allow;
  layer.allow = targets(list);
  policy::EgressPolicy policy;
  policy.layers.push_back(std::move(layer));
  return policy;
}

policy::EgressPolicy EgressTest::internet(const std::string& deny) {
  policy::EgressPolicy policy = allow({});
  policy.layers[0].level = policy::EgressLevel::internet;
  policy.layers[0].deny = targets(deny);
  return policy;
}

Task<void> EgressTest::set_policy(policy::EgressPolicy policy) {
  policy_ = std::move(policy);
  boost::json::object body;
  body["machine"] = kMachine;
  body["egress"] = policy::to_json(policy_);
  auto order = node_->order("machine.egress", std::move(body));
  auto answer = co_await std::move(order);
  EXPECT_TRUE(answer) << (answer ? "" : answer.error().message());
}

Result<Fd> EgressTest::guest_socket(int type) {
  return guest_->inside([type]() -> Result<Fd> {
    Fd made(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!made) return Error::from_errno(errno, "socket");
    return made;
  });
}

Task<http::Stream> EgressTest::connect(std::string address, uint16_t port) {
  auto socket = guest_socket(SOCK_STREAM);
  auto stream = http::make_stream(co_await asio::this_coro::executor, std::move(socket).value());
  asio::generic::stream_protocol::endpoint endpoint(
      asio::ip::tcp::endpoint(asio::ip::make_address(address), port));
  co_await stream.async_connect(endpoint, asio::use_awaitable);
  co_return stream;
}

Task<DnsReply> EgressTest::ask_dns(std::string name, int type, std::string server, bool edns) {
  auto made = guest_socket(SOCK_DGRAM);
  asio::posix::stream_descriptor socket(co_await asio::this_coro::executor,
                                        made.value().release());
  sockaddr_in where = endpoint_of(server, 53);
  ::connect(socket.native_handle(), reinterpret_cast<sockaddr*>(&where), sizeof where);
  std::string question = dns_question(name, type, edns);
  (void)::send(socket.native_handle(), question.data(), question.size(), 0);
  std::string answer(4096, '\0');
  auto read = [](asio::posix::stream_descriptor& from, std::string& into) -> Task<Result<void>> {
    error_code error;
    size_t count = co_await from.async_read_some(
        asio::buffer(into), asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    into.resize(count);
    if (error) co_return Error(ErrorCode::unavailable, error.message());
    co_return ok();
  };
  auto reading = read(socket, answer);
  auto got = co_await with_deadline(3s, std::move(reading));
  if (!got) co_return DnsReply();
  co_return reply_of(std::move(answer), question.size() - (edns ? 11 : 0));
}

Task<std::string> EgressTest::lookup(std::string name) {
  auto reply = co_await ask_dns(name);
  co_return reply.address;
}

Task<std::string> EgressTest::rest_of(http::Stream& stream, Duration patience) {
  std::string received;
  auto read = [](http::Stream& from, std::string& into) -> Task<Result<void>> {
    char buffer[16384];
    for (;;) {
      error_code error;
      size_t count = co_await from.async_read_some(
          asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
      into.append(buffer, count);
      if (error && error != asio::error::eof) into += "<reset>";
      if (error) co_return ok();
    }
  };
  auto reading = read(stream, received);
  auto ended = co_await with_deadline(patience, std::move(reading));
  co_return ended ? received : received + "<open>";
}

Task<void> EgressTest::send(http::Stream& stream, std::string bytes) {
  error_code gone;  // then what is read says so
  co_await asio::async_write(stream, asio::buffer(bytes),
                             asio::redirect_error(asio::use_awaitable, gone));
}

Task<std::string> EgressTest::receive(http::Stream& stream, size_t count) {
  std::string received(count, '\0');
  co_await asio::async_read(stream, asio::buffer(received), asio::use_awaitable);
  co_return received;
}

Task<std::string> EgressTest::talk(std::string address, uint16_t port, std::string sent) {
  auto made = guest_socket(SOCK_STREAM);
  auto stream = http::make_stream(co_await asio::this_coro::executor, std::move(made).value());
  asio::generic::stream_protocol::endpoint endpoint(
      asio::ip::tcp::endpoint(asio::ip::make_address(address), port));
  error_code error;
  co_await stream.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  // A reset may come as fast as the end of the handshake.
  if (error) co_return error == asio::error::connection_reset ? "<reset>" : "<refused>";
  co_await asio::async_write(stream, asio::buffer(sent),
                             asio::redirect_error(asio::use_awaitable, error));
  // Whoever was told of the reset when it sent is not told again when it reads.
  if (error) co_return "<reset>";
  co_return co_await rest_of(stream);
}

Task<std::string> EgressTest::talk_to(std::string name, uint16_t port, std::string sent) {
  std::string address = co_await lookup(name);
  if (address.empty()) co_return "<no name>";
  co_return co_await talk(std::move(address), port, std::move(sent));
}

Task<EgressTest::Ran> EgressTest::run_in_guest(std::string command) {
  auto work = [this, command]() -> Ran {
    auto ran = guest_->inside([&]() -> Result<Ran> {
      Ran ran;
      FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
      if (!pipe) return Error::from_errno(errno, "run " + command);
      char buffer[4096];
      while (size_t count = ::fread(buffer, 1, sizeof buffer, pipe))
        ran.output.append(buffer, count);
      int status = ::pclose(pipe);
      ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      return ran;
    });
    return ran ? std::move(ran).value() : Ran{-1, ran.error().message()};
  };
  co_return co_await run_blocking(pool_, work);
}

Task<boost::json::object> EgressTest::record(std::string members) {
  auto wanted = boost::json::parse(members).as_object();
  auto matches = [&](const boost::json::object& record) {
    return std::all_of(wanted.begin(), wanted.end(), [&](const auto& member) {
      auto found = record.find(member.key());
      return found != record.end() && found->value() == member.value();
    });
  };
  for (int tries = 0; tries < 300; ++tries) {
    for (const auto& record : node_->egress_records())
      if (matches(record)) co_return record;
    co_await sleep_for(10ms);
  }
  std::string all;
  for (const auto& record : node_->egress_records()) all += boost::json::serialize(record) + "\n";
  ADD_FAILURE() << "no record " << members << " in\n" << all;
  co_return boost::json::object();
}

}  // namespace hako::test
