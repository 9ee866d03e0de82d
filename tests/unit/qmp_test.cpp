// QEMU's control protocol, from bytes and from a scripted peer.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "base/random.h"
#include "engine/qemu/qmp_client.h"
#include "support/run_value.h"

namespace hako::engine::qmp {
namespace {

using namespace std::chrono_literals;

template <class T>
T expect_message(const std::string& line) {
  auto message = parse_message(line);
  EXPECT_TRUE(message) << line;
  if (!message || !std::holds_alternative<T>(message.value())) {
    ADD_FAILURE() << "another kind of message: " << line;
    return {};
  }
  return std::get<T>(message.value());
}

TEST(QmpMessage, Kinds) {
  auto greeting = expect_message<Greeting>(
      R"({"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian"},)"
      R"("capabilities":["oob"]}})");
  EXPECT_EQ(greeting.version, "7.2.22");
  EXPECT_EQ(greeting.package, "Debian");
  EXPECT_EQ(expect_message<Return>(R"({"return":{},"id":5})").id, 5);
  EXPECT_EQ(expect_message<Return>(R"({"return":[1]})").id, std::nullopt);
  auto failure =
      expect_message<Failure>(R"({"id":1,"error":{"class":"GenericError","desc":"no"}})");
  EXPECT_EQ(failure.error_class, "GenericError");
  EXPECT_EQ(failure.description, "no");
  auto event = expect_message<Event>(
      R"({"timestamp":{"seconds":1},"event":"MIGRATION","data":{"status":"completed"}})");
  EXPECT_EQ(event.name, "MIGRATION");
  EXPECT_EQ(event.data.at("status"), "completed");
}

TEST(QmpMessage, Nonsense) {
  for (const char* line :
       {"", "x", "[]", "{}", "null", "{\"QMP\":1}", "{\"QMP\":{\"version\":{\"qemu\":{}}}}",
        "{\"event\":1}", "{\"event\":\"\"}", "{\"error\":\"x\"}", "{\"return\":{}} trailing"}) {
    auto message = parse_message(line);
    ASSERT_FALSE(message) << line;
    EXPECT_EQ(message.error().code(), ErrorCode::corrupted) << line;
  }
  std::string deep(100'000, '[');
  EXPECT_FALSE(parse_message(deep));
}

TEST(QmpParser, AnyCutGivesTheSameMessages) {
  const std::string stream =
      "{\"return\":{},\"id\":1}\r\n\r\n{\"event\":\"STOP\"}\n{\"return\":\"x\",\"id\":2}\n";
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    Parser parser;
    int messages = 0;
    for (const auto& part : {stream.substr(0, cut), stream.substr(cut)}) {
      parser.feed(part);
      for (;;) {
        auto message = parser.next();
        ASSERT_TRUE(message);
        if (!message.value()) break;
        ++messages;
      }
    }
    EXPECT_EQ(messages, 3) << cut;
  }
}

TEST(QmpParser, StopsAtTheFirstError) {
  Parser parser;
  parser.feed("nonsense\n{\"return\":{},\"id\":1}\n");
  EXPECT_FALSE(parser.next());
  EXPECT_FALSE(parser.next());
}

TEST(QmpParser, BoundsLines) {
  Parser parser;
  std::string part(64 * 1024, ' ');
  for (size_t fed = 0; fed <= kMaxLine; fed += part.size()) {
    auto message = parser.next();
    ASSERT_TRUE(message);
    EXPECT_FALSE(message.value());
    parser.feed(part);
  }
  auto message = parser.next();
  ASSERT_FALSE(message);
  EXPECT_EQ(message.error().code(), ErrorCode::too_large);
}

TEST(QmpCommand, Format) {
  boost::json::object arguments;
  arguments["fdname"] = "st\nate";
  EXPECT_EQ(format_command("getfd", arguments, 3),
            "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"st\\nate\"},\"id\":3}\n");
  EXPECT_EQ(format_command("stop", {}, 4), "{\"execute\":\"stop\",\"id\":4}\n");
}

/// A peer that has already said all it will ever say, and then hangs up or stays silent.
class QmpClient : public testing::Test {
 protected:
  QmpClient() : path_("/tmp/hako-qmp-test-" + random_hex(8)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
        ::listen(listener_.get(), 1) < 0)
      throw std::runtime_error("listen");
  }
  ~QmpClient() override { ::unlink(path_.c_str()); }

  Client connect(const std::string& script) {
    auto client = Client::connect(io_.get_executor(), path_);
    EXPECT_TRUE(client);
    peer_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_TRUE(write_all(peer_.get(), script));
    return std::move(client.value());
  }

  asio::io_context io_;
  std::string path_;
  Fd listener_, peer_;
};

constexpr char kGreeting[] =
    "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":2,\"major\":7},\"package\":\"\"}}}\n";

Task<Result<std::vector<boost::json::value>>> call(Client& client, std::vector<std::string> names,
                                                   Duration limit, int fd = -1) {
  std::vector<Command> commands;
  for (auto& name : names) commands.push_back({std::move(name), {}});
  co_return co_await client.call_all(std::move(commands), limit, fd);
}

TEST_F(QmpClient, RepliesInOneGoEventsBetween) {
  Client client = connect(std::string(kGreeting) +
                          "{\"return\":1,\"id\":1}\n{\"event\":\"MIGRATION\",\"data\":{\"status\":"
                          "\"setup\"}}\n{\"event\":\"MIGRATION\",\"data\":{\"status\":"
                          "\"completed\"}}\n{\"return\":2,\"id\":2}\n");
  auto values = test::run_value(io_, call(client, {"a", "b"}, 5s));
  ASSERT_TRUE(values) << values.error().message();
  EXPECT_EQ(values.value()[0], 1);
  EXPECT_EQ(values.value()[1], 2);
  std::vector<std::string> wanted{"completed", "failed"};
  auto status = test::run_value(io_, client.wait_status("MIGRATION", wanted, 5s));
  ASSERT_TRUE(status);
  EXPECT_EQ(status.value(), "completed");
  char bytes[256] = {};
  ASSERT_GT(::read(peer_.get(), bytes, sizeof bytes - 1), 0);
  EXPECT_STREQ(bytes, "{\"execute\":\"a\",\"id\":1}\n{\"execute\":\"b\",\"id\":2}\n");
}

TEST_F(QmpClient, RefusalNamesTheCommand) {
  Client client = connect(
      "{\"return\":1,\"id\":1}\n{\"id\":2,\"error\":{\"class\":\"GenericError\",\"desc\":"
      "\"not now\"}}\n{\"return\":3,\"id\":3}\n{\"return\":4,\"id\":4}\n");
  auto values = test::run_value(io_, call(client, {"a", "b", "c"}, 5s));
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(values.error().message(), "VMM: b: not now");
  EXPECT_TRUE(test::run_value(io_, call(client, {"d"}, 5s)));  // still usable
}

TEST_F(QmpClient, SilenceTimesOutAndALateReplyIsSkipped) {
  Client client = connect(kGreeting);
  auto values = test::run_value(io_, call(client, {"a"}, 50ms));
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().code(), ErrorCode::timed_out);
  ASSERT_TRUE(write_all(peer_.get(), "{\"return\":\"late\",\"id\":1}\n{\"return\":2,\"id\":2}\n"));
  values = test::run_value(io_, call(client, {"b"}, 5s));
  ASSERT_TRUE(values);
  EXPECT_EQ(values.value()[0], 2);
}

TEST_F(QmpClient, HangUpIsUnavailable) {
  Client client = connect(kGreeting);
  peer_.reset();
  auto values = test::run_value(io_, call(client, {"a"}, 5s));
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().code(), ErrorCode::unavailable);
}

TEST_F(QmpClient, NonsenseIsCorrupted) {
  Client client = connect("hello\n");
  auto values = test::run_value(io_, call(client, {"a"}, 5s));
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().code(), ErrorCode::corrupted);

  Client other = connect("{\"return\":1,\"id\":99}\n");
  values = test::run_value(io_, call(other, {"a"}, 5s));
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().code(), ErrorCode::corrupted);
}

TEST_F(QmpClient, PassesADescriptor) {
  Client client = connect("{\"return\":1,\"id\":1}\n");
  Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(test::run_value(io_, call(client, {"getfd"}, 5s, null.get())));
  char bytes[256], control[CMSG_SPACE(sizeof(int))];
  iovec part{bytes, sizeof bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ASSERT_GT(::recvmsg(peer_.get(), &message, MSG_CMSG_CLOEXEC), 0);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->cmsg_type, SCM_RIGHTS);
  int received;
  std::memcpy(&received, CMSG_DATA(header), sizeof received);
  EXPECT_EQ(::close(received), 0);
}

TEST_F(QmpClient, NobodyListens) {
  listener_.reset();
  auto client = Client::connect(io_.get_executor(), path_);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace hako::engine::qmp
