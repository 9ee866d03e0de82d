#include "rpc/peer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "rpc/frame.h"

namespace hako::rpc {
namespace {

using namespace std::chrono_literals;

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

Task<Result<Payload>> echo(Payload payload) {
  co_return std::move(payload);
}

Task<Result<Payload>> refuse(Payload) {
  co_return Error(ErrorCode::failed_precondition, "not now").with_retry_after(7s);
}

Task<Result<Payload>> never(Payload) {
  co_await sleep_for(1h);
  co_return Payload{};
}

Task<Result<Payload>> fault(Payload) {
  throw std::runtime_error("secret detail");
  co_return Payload{};
}

Payload with_text(std::string text) {
  Payload payload;
  payload.body["text"] = std::move(text);
  return payload;
}

/// Runs a test body on its own loop, with a bound on how long it may take.
class RpcTest : public testing::Test {
 protected:
  template <class Body>
  void run(Body body) {
    bool finished = false;
    auto work = [&]() -> Task<void> {
      co_await body();
      co_await tasks.stop();
      finished = true;
    };
    std::exception_ptr failure;
    asio::co_spawn(io, work(), [&](std::exception_ptr e) { failure = e; });
    io.run_for(20s);
    if (failure) std::rethrow_exception(failure);
    ASSERT_TRUE(finished) << "did not end in time";
  }

  void make_pair() {
    auto ends = socket_pair(SOCK_STREAM);
    ASSERT_TRUE(ends);
    left.emplace(io.get_executor(), std::move(ends.value().first));
    right.emplace(io.get_executor(), std::move(ends.value().second));
    right->on("echo", echo);
    right->on("refuse", refuse);
    right->on("never", never);
    right->on("fault", fault);
  }

  void serve_both() {
    tasks.spawn("left", left->run());
    tasks.spawn("right", right->run());
  }

  /// One end is a Peer, the other a bare socket in the test's hands.
  Fd make_raw() {
    auto ends = socket_pair(SOCK_STREAM);
    right.emplace(io.get_executor(), std::move(ends.value().first));
    right->on("echo", echo);
    return std::move(ends.value().second);
  }

  asio::io_context io;
  TaskGroup tasks{io.get_executor()};
  std::optional<Peer> left, right;
};

TEST_F(RpcTest, CallsAreAnsweredWithBodyAndDescriptors) {
  make_pair();
  run([&]() -> Task<void> {
    serve_both();
    Payload payload = with_text("hello");
    int pipe_ends[2];
    EXPECT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    payload.fds.emplace_back(pipe_ends[1]);
    Fd read_end(pipe_ends[0]);
    auto answer = co_await left->call("echo", std::move(payload), 5s);
    EXPECT_TRUE(answer);
    EXPECT_EQ(answer.value().body["text"], "hello");
    EXPECT_EQ(answer.value().fds.size(), 1u);
    int back = answer.value().fds.at(0).get();
    EXPECT_EQ(::fcntl(back, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    EXPECT_EQ(::write(back, "x", 1), 1);
    char c = 0;
    EXPECT_EQ(::read(read_end.get(), &c, 1), 1);
    EXPECT_EQ(c, 'x');
  });
}

TEST_F(RpcTest, ErrorsOfTheHandlerComeBack) {
  make_pair();
  run([&]() -> Task<void> {
    serve_both();
    auto refused = co_await left->call("refuse", Payload(), 5s);
    EXPECT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::failed_precondition);
    EXPECT_EQ(refused.error().message(), "not now");
    EXPECT_EQ(refused.error().retry_after(), 7s);
    auto unknown = co_await left->call("nothing", Payload(), 5s);
    EXPECT_EQ(unknown.error().code(), ErrorCode::unsupported);
    auto failed = co_await left->call("fault", Payload(), 5s);
    EXPECT_EQ(failed.error().code(), ErrorCode::internal);
    EXPECT_EQ(failed.error().message().find("secret"), std::string::npos);
    auto late = co_await left->call("never", Payload(), 20ms);
    EXPECT_EQ(late.error().code(), ErrorCode::timed_out);
    auto after = co_await left->call("echo", Payload(), 5s);
    EXPECT_TRUE(after);
  });
}

TEST_F(RpcTest, LargeMessagesPassThroughSmallSocketBuffers) {
  make_pair();
  run([&]() -> Task<void> {
    serve_both();
    std::string text(7 << 20, 'x');
    for (int i = 0; i < 3; ++i) {
      Payload payload = with_text(text);
      payload.fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      auto answer = co_await left->call("echo", std::move(payload), 15s);
      EXPECT_TRUE(answer);
      EXPECT_EQ(answer.value().body["text"].as_string().size(), text.size());
      EXPECT_EQ(answer.value().fds.size(), 1u);
    }
    Payload over = with_text(std::string(9 << 20, 'x'));
    auto refused = co_await left->call("echo", std::move(over), 5s);
    EXPECT_EQ(refused.error().code(), ErrorCode::too_large);
    EXPECT_FALSE(left->closed());
  });
}

Task<void> call_and_count(Peer& peer, std::string text, int& right_answers) {
  Payload payload = with_text(text);
  for (int i = 0; i < 3; ++i) payload.fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto answer = co_await peer.call("echo", std::move(payload), 10s);
  if (answer && answer.value().body["text"].as_string() == text && answer.value().fds.size() == 3)
    ++right_answers;
}

TEST_F(RpcTest, ManyCallsAtOnceKeepTheirAnswersApart) {
  make_pair();
  int before = open_descriptors();
  int right_answers = 0;
  run([&]() -> Task<void> {
    serve_both();
    TaskGroup callers(io.get_executor());
    for (int i = 0; i < 200; ++i)
      callers.spawn("call", call_and_count(*left, std::to_string(i) + std::string(i * 300, '.'),
                                           right_answers));
    while (callers.size() > 0) co_await sleep_for(5ms);
    co_await callers.stop();
  });
  EXPECT_EQ(right_answers, 200);
  left.reset();
  right.reset();
  EXPECT_LE(open_descriptors(), before);
}

TEST_F(RpcTest, NoticesArriveInOrder) {
  make_pair();
  std::vector<int64_t> seen;
  Handler note = [&seen](Payload payload) -> Task<Result<Payload>> {
    seen.push_back(payload.body["n"].as_int64());
    co_return Payload{};
  };
  right->on("note", note);
  run([&]() -> Task<void> {
    serve_both();
    for (int i = 0; i < 50; ++i) {
      Payload payload;
      payload.body["n"] = i;
      EXPECT_TRUE(left->tell("note", std::move(payload)));
    }
    auto flushed = co_await left->call("echo", Payload(), 5s);
    EXPECT_TRUE(flushed);
  });
  ASSERT_EQ(seen.size(), 50u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(RpcTest, OpenCallsFailWhenTheOtherSideGoes) {
  make_pair();
  run([&]() -> Task<void> {
    serve_both();
    TaskGroup later(io.get_executor());
    auto close_right = [](Peer& peer) -> Task<void> {
      co_await sleep_for(20ms);
      peer.close();
    };
    later.spawn("close", close_right(*right));
    auto answer = co_await left->call("never", Payload(), 10s);
    EXPECT_EQ(answer.error().code(), ErrorCode::unavailable);
    EXPECT_TRUE(left->closed());
    auto again = co_await left->call("echo", Payload(), 10s);
    EXPECT_EQ(again.error().code(), ErrorCode::unavailable);
    EXPECT_FALSE(left->tell("echo", Payload()));
    co_await later.stop();
  });
}

TEST_F(RpcTest, APeerMayGoWhileItRuns) {
  make_pair();
  run([&]() -> Task<void> {
    serve_both();
    TaskGroup later(io.get_executor());
    int ignored = 0;
    later.spawn("call", call_and_count(*left, "x", ignored));
    auto answer = co_await left->call("never", Payload(), 10ms);
    EXPECT_EQ(answer.error().code(), ErrorCode::timed_out);
    left.reset();
    right.reset();
    co_await sleep_for(10ms);
    co_await later.stop();
  });
}

TEST_F(RpcTest, CancellingRunEndsHandlersAndCalls) {
  make_pair();
  run([&]() -> Task<void> {
    TaskGroup serving(io.get_executor());
    serving.spawn("right", right->run());
    tasks.spawn("left", left->run());
    EXPECT_TRUE(left->tell("never", Payload()));
    auto answer = co_await left->call("echo", Payload(), 5s);
    EXPECT_TRUE(answer);
    co_await serving.stop();
    EXPECT_TRUE(right->closed());
  });
}

TEST_F(RpcTest, AReaderThatDoesNotReadCannotFillOurMemory) {
  make_pair();
  run([&]() -> Task<void> {
    std::string text(4 << 20, 'x');
    Result<void> sent = ok();
    int count = 0;
    while (sent && count < 100) {
      sent = left->tell("echo", with_text(text));
      ++count;
    }
    EXPECT_FALSE(sent);
    EXPECT_EQ(sent.error().code(), ErrorCode::resource_exhausted);
    EXPECT_LE(count, 18);
    left->close();
    co_return;
  });
}

/// Sends bytes with descriptors as a hostile peer would.
void send_raw(int socket, std::string bytes, int fds) {
  iovec data{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds));
  if (fds > 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds);
    int zero = 0;
    for (int i = 0; i < fds; ++i)
      std::memcpy(CMSG_DATA(header) + i * sizeof zero, &zero, sizeof zero);
  }
  ASSERT_EQ(::sendmsg(socket, &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

TEST_F(RpcTest, HostilePeersLoseTheirConnectionAndLeaveNothing) {
  struct Case {
    const char* name;
    std::string bytes;
    int fds;
  };
  std::string good = encode_frame([] {
                       Message m;
                       m.kind = Message::Kind::request;
                       m.method = "echo";
                       return m;
                     }())
                         .value();
  std::string declares_two = good;
  declares_two[4] = 2;
  std::vector<Case> cases{{"undeclared", good, 1},
                          {"too few", declares_two, 1},
                          {"too many", declares_two, 3},
                          {"over the bound", declares_two, 80},
                          {"rubbish", std::string(100, '\x01'), 0},
                          {"unknown notice",
                           encode_frame([] {
                             Message m;
                             m.method = "what";
                             return m;
                           }())
                               .value(),
                           0}};
  for (auto& hostile : cases) {
    SCOPED_TRACE(hostile.name);
    io.restart();
    make_raw();  // the loop makes descriptors of its own for the first socket
    right.reset();
    int before = open_descriptors();
    Fd raw = make_raw();
    run([&]() -> Task<void> {
      send_raw(raw.get(), hostile.bytes, hostile.fds);
      co_await right->run();
      EXPECT_TRUE(right->closed());
    });
    raw.reset();
    right.reset();
    EXPECT_LE(open_descriptors(), before);
  }
}

class UnixSocketTest : public RpcTest {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hako-rpc-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory = name;
    path = directory + "/s.sock";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }
  std::string directory, path;
};

Task<void> serve_echo(Fd connection, uid_t uid) {
  EXPECT_EQ(uid, ::geteuid());
  Peer peer(co_await asio::this_coro::executor, std::move(connection));
  peer.on("echo", echo);
  co_await peer.run();
}

TEST_F(UnixSocketTest, AcceptsConnectsAndStops) {
  run([&]() -> Task<void> {
    auto listener = listen_unix(path, ::getegid(), 0600);
    EXPECT_TRUE(listener);
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    EXPECT_EQ(listen_unix(path, ::getegid()).error().code(), ErrorCode::already_exists);
    std::vector<uid_t> uids{::geteuid()};
    tasks.spawn("accept", accept_peers(std::move(listener.value()), uids, serve_echo));
    for (int i = 0; i < 3; ++i) {
      auto connection = co_await connect_unix(path);
      EXPECT_TRUE(connection);
      Peer peer(io.get_executor(), std::move(connection.value()));
      TaskGroup serving(io.get_executor());
      serving.spawn("peer", peer.run());
      auto answer = co_await peer.call("echo", with_text("hi"), 5s);
      EXPECT_TRUE(answer);
      if (i == 2) co_await tasks.stop();
      co_await serving.stop();
    }
    auto gone = co_await connect_unix(path);
    EXPECT_EQ(gone.error().code(), ErrorCode::unavailable);
  });
}

TEST_F(UnixSocketTest, AStaleSocketIsReplacedAndOtherFilesAreNot) {
  ASSERT_TRUE(listen_unix(path, ::getegid()));  // closed at once: stale from here on
  EXPECT_TRUE(listen_unix(path, ::getegid()));
  std::string file = directory + "/file";
  ASSERT_TRUE(open_file(file, O_CREAT | O_WRONLY, 0600));
  EXPECT_EQ(listen_unix(file, ::getegid()).error().code(), ErrorCode::already_exists);
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_EQ(listen_unix("/" + std::string(200, 'x'), 0).error().code(),
            ErrorCode::invalid_argument);
}

/// Connects as another user and says whether the connection was dropped at once.
bool dropped_as(uid_t uid, const std::string& path) {
  pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(uid, uid, uid) < 0) ::_exit(9);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    int s = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (::connect(s, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) ::_exit(8);
    pollfd wait{s, POLLIN, 0};
    int n = ::poll(&wait, 1, 1500);
    char c;
    ::_exit(n == 1 && ::read(s, &c, 1) == 0 ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_LT(WEXITSTATUS(status), 8);
  return WEXITSTATUS(status) == 1;
}

Task<void> hold(Fd, uid_t) {
  co_await sleep_for(1h);
}

TEST_F(UnixSocketTest, OnlyKnownUsersAreServed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to be two users";
  ::chmod(directory.c_str(), 0755);
  asio::thread_pool pool(1);
  run([&]() -> Task<void> {
    auto listener = listen_unix(path, 0, 0666);
    EXPECT_TRUE(listener);
    std::vector<uid_t> uids{4242};
    tasks.spawn("accept", accept_peers(std::move(listener.value()), uids, hold));
    auto stranger = [&] { return dropped_as(4243, path); };
    EXPECT_TRUE(co_await run_blocking(pool, stranger));
    auto known = [&] { return dropped_as(4242, path); };
    EXPECT_FALSE(co_await run_blocking(pool, known));
  });
}

}  // namespace
}  // namespace hako::rpc
