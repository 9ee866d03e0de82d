// Budgets for models, with the real store behind real connections of gates: what is let through never
// exceeds a cap, counts agree with what servers sent, and a broker that is gone lets nothing through.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <random>

#include "api/model_budgets.h"
#include "base/async/task_group.h"
#include "base/clock.h"
#include "store/sqlite.h"
#include "support/broker_client.h"
#include "support/run_task.h"
#include "support/store_fixture.h"
#include "wire/model_usage.h"

namespace hako::api {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using store::ModelAmount;
using store::ModelTokens;
using test::kInputBytes;
using test::kMostOutput;
using wire::ModelDialect;
using Gate = test::BrokerClient;

constexpr int kBoxes = 50;
constexpr int kCallsOfEach = 20;
constexpr int64_t kTokensSetAside = 2000 + kMostOutput;
constexpr int64_t kTokenCap = 200'000;
constexpr int64_t kMicrousdCap = 700'000;
constexpr int64_t kMicrousdSetAside = 2000 * 4 + kMostOutput * 10;

config::Models models() {
  config::Models made;
  made.endpoints = {{"llm.example", 443, "anthropic", ""}};
  policy::ModelPrice price;
  price.model = "m";
  price.input = 3'000'000, price.cached = 1'000'000, price.cache_write = 4'000'000;
  price.cache_write_1h = 4'000'000, price.output = 10'000'000;
  made.prices = {price};
  return made;
}

ModelBudgets::Pace any_pace() {
  return {.per_second = 0, .burst = 1};
}

void fill(const std::string& path, const std::string& policy) {
  auto opened = store::open_sqlite_store(path);
  ASSERT_TRUE(opened) << opened.error().message();
  store::Store& store = *opened.value();
  ASSERT_TRUE(store.tenants().add_tenant({.name = "acme", .policy = policy, .created_ms = 5}));
  store::ApiKey key = store::key("k1", "aa");
  key.tenant = "acme";
  ASSERT_TRUE(store.tenants().put_key(key));
  for (int i = 0; i < kBoxes; ++i) {
    auto box = store::record("i" + std::to_string(i), 100);
    box.tenant = "acme";
    box.key_id = "k1";
    ASSERT_TRUE(store.add_sandbox(box));
  }
}

/// `path`, with a store in it whose boxes are under `policy`.
std::string prepared(std::string path, const std::string& policy) {
  fill(path, policy);
  return path;
}

/// The budgets over a store.
struct Broker {
  explicit Broker(const std::string& path, ModelBudgets::Pace pace = any_pace())
      : store(std::move(store::open_sqlite_store(path).value())),
        budgets(models(), store, pace) {}
  asio::io_context loop;  // outlives the store, whose thread tells it
  store::AsyncStore store;
  ModelBudgets budgets;
};

/// What all tenants have used.
Task<Result<std::vector<store::ModelUsageRow>>> usage_of_all(ModelBudgets& budgets) {
  Principal operators = itself();
  operators.is_operator = true;
  ModelUsageRequest all;
  all.all_tenants = true;
  co_return co_await budgets.usage(all, operators);
}

std::pair<Fd, Fd> connected() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

/// A gate and the broker's end of its link. `serving` runs both, and is to stop before this goes.
struct ServedGate {
  ServedGate(asio::any_io_executor executor, ModelBudgets& budgets, TaskGroup& serving)
      : ServedGate(executor, budgets, serving, connected()) {}
  rpc::Peer end;
  Gate gate;

 private:
  ServedGate(asio::any_io_executor executor, ModelBudgets& budgets, TaskGroup& serving,
             std::pair<Fd, Fd> link)
      : end(executor, std::move(link.first)), gate(executor, std::move(link.second)) {
    budgets.register_on(end);
    serving.spawn("broker", end.run());
    serving.spawn("gate", gate.peer.run());
  }
};

/// What a server of models sends, and what it says with it.
struct Answer {
  std::string type;
  std::string bytes;
  ModelTokens said;      ///< in all of it
  size_t said_input_at;  ///< from how many bytes on the input is known
  size_t said_all_at;    ///< and all of it
};

Answer stream_of(std::mt19937& random) {
  auto below = [&](int64_t most) { return int64_t(random() % uint64_t(most)); };
  Answer answer;
  answer.type = "text/event-stream";
  answer.said = {.input = 1 + below(500), .cached = below(500), .cache_write = below(500),
                 .cache_write_1h = 0, .output = 2 + below(kMostOutput - 2)};
  const ModelTokens& said = answer.said;
  answer.bytes = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":"
                 "{\"input_tokens\":" + std::to_string(said.input) +
                 ",\"cache_read_input_tokens\":" + std::to_string(said.cached) +
                 ",\"cache_creation_input_tokens\":" + std::to_string(said.cache_write) +
                 ",\"output_tokens\":1}}}\n\n";
  answer.said_input_at = answer.bytes.size() - 1;
  for (int64_t i = below(20); i >= 0; --i) {
    answer.bytes += "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":"
                    "{\"type\":\"text_delta\",\"text\":\"word \"}}\n\n";
  }
  answer.bytes += "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":"
                  "{\"output_tokens\":" + std::to_string(said.output) + "}}\n\n";
  answer.said_all_at = answer.bytes.size();
  answer.bytes += "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
  return answer;
}

/// All that is let through, as the test itself counts it.
struct Ledger {
  int64_t calls = 0, refused = 0;
  int64_t open = 0;
  ModelTokens said;             ///< by servers
  int64_t unconfirmed = 0;
  int64_t cut = 0;
  int64_t most_tokens = 0;      ///< that counted against the cap at some time, at least

  int64_t said_tokens() const {
    return said.input + said.cached + said.cache_write + said.output;
  }
  void look() {
    most_tokens = std::max(most_tokens, said_tokens() + unconfirmed + open * kTokensSetAside);
  }
};

void add(ModelTokens& into, const ModelTokens& more) {
  into.input += more.input, into.cached += more.cached, into.cache_write += more.cache_write;
  into.output += more.output;
}

class ModelsBroker : public ::testing::Test {
 protected:
  /// Calls from one box until it has had enough refusals.
  Task<void> box(Gate& gate, int number, uint32_t seed) {
    std::mt19937 random(seed + uint32_t(number));
    for (int i = 0; i < kCallsOfEach; ++i) {
      auto reservation = co_await gate.reserve("i" + std::to_string(number));
      if (!reservation) {
        EXPECT_EQ(reservation.error().code(), ErrorCode::resource_exhausted)
            << reservation.error().message();
        ++ledger.refused;
        continue;
      }
      ++ledger.calls;
      ++ledger.open;
      ledger.look();
      co_await sleep_for(std::chrono::milliseconds(random() % 20));
      co_await answer(gate, reservation.value(), random);
    }
  }

  Task<void> answer(Gate& gate, std::string reservation, std::mt19937& random) {
    Answer sent = stream_of(random);
    size_t length = random() % 3 == 0 ? random() % sent.bytes.size() : sent.bytes.size();
    bool whole = length == sent.bytes.size();
    wire::UsageCounter counter(ModelDialect::messages, sent.type);
    for (size_t at = 0; at < length;) {
      size_t piece = std::min<size_t>(1 + random() % 50, length - at);
      counter.feed(std::string_view(sent.bytes).substr(at, piece));
      at += piece;
    }
    auto outcome = counter.finish(whole);
    // What the server has said by then, from its side.
    ModelTokens said;
    if (length > sent.said_input_at) {
      said = sent.said;
      if (length < sent.said_all_at) said.output = 1;
    }
    EXPECT_EQ(outcome.told == wire::UsageCounter::Told::all, whole);
    const char* word = whole ? "ok" : outcome.told == wire::UsageCounter::Told::part ? "cut" : "uncounted";
    // Written down before the api hears of it: what it then gives back may be set aside for a box
    // behind another gate, whose answer may overtake this one's.
    --ledger.open;
    add(ledger.said, said);
    if (!whole) {
      ++ledger.cut;
      ledger.unconfirmed += kMostOutput - said.output;
      if (said.input == 0) ledger.unconfirmed += 2000;
    }
    ledger.look();
    CO_ASSERT_TRUE(co_await gate.settle(reservation, word, outcome.usage));
  }

  /// Fifty boxes behind three gates at once.
  void hammer(const std::string& policy) {
    Broker broker(prepared(folder.file("hako.db"), policy));
    auto work = [&]() -> Task<void> {
      auto executor = co_await asio::this_coro::executor;
      TaskGroup serving(executor);
      std::vector<std::unique_ptr<ServedGate>> gates;
      for (int i = 0; i < 3; ++i) {
        gates.push_back(std::make_unique<ServedGate>(executor, broker.budgets, serving));
      }
      TaskGroup boxes(executor);
      int left = kBoxes;
      auto one = [&](int number) -> Task<void> {
        co_await box(gates[size_t(number) % gates.size()]->gate, number, 1);
        --left;
      };
      for (int i = 0; i < kBoxes; ++i) boxes.spawn("box", one(i));
      while (left > 0) co_await sleep_for(10ms);
      co_await check(broker.budgets);
      co_await boxes.stop();
      co_await serving.stop();
    };
    test::run_on(broker.loop, work(), 120s);
  }

  /// The api's sums are the servers'.
  Task<void> check(ModelBudgets& budgets) {
    auto rows = co_await usage_of_all(budgets);
    CO_ASSERT_TRUE(rows && rows.value().size() == 1);
    const store::ModelUsageRow& row = rows.value()[0];
    EXPECT_EQ(row.requests, ledger.calls);
    EXPECT_EQ(row.tokens, ledger.said);
    EXPECT_EQ(row.unconfirmed_tokens, ledger.unconfirmed);
    EXPECT_GT(ledger.cut, 0);
    EXPECT_EQ(ledger.calls + ledger.refused, kBoxes * kCallsOfEach);
    microusd = row.microusd + row.unconfirmed_microusd;
  }

  store::Folder folder;
  Ledger ledger;
  int64_t microusd = 0;
};

TEST_F(ModelsBroker, FiftyBoxesNeverExceedACapOnCalls) {
  hammer(R"({"modelRequests":333})");
  EXPECT_EQ(ledger.calls, 333) << "not one more, and none is lost";
}

TEST_F(ModelsBroker, FiftyBoxesNeverExceedACapOnTokens) {
  hammer("{\"modelTokens\":" + std::to_string(kTokenCap) + "}");
  EXPECT_LE(ledger.most_tokens, kTokenCap);
  EXPECT_GT(ledger.most_tokens, kTokenCap - 2 * kTokensSetAside) << "it was made use of";
  EXPECT_GT(ledger.refused, 0);
}

TEST_F(ModelsBroker, FiftyBoxesNeverExceedACapOnMoney) {
  hammer("{\"modelMicroUSD\":" + std::to_string(kMicrousdCap) + "}");
  EXPECT_LE(microusd, kMicrousdCap);
  EXPECT_GT(microusd, kMicrousdCap - 2 * kMicrousdSetAside);
  EXPECT_GT(ledger.refused, 0);
}

/// So that the tests above can fail: the same boxes go beyond all of these caps where there are none.
TEST_F(ModelsBroker, WithoutACapTheyDo) {
  hammer("");
  EXPECT_EQ(ledger.calls, kBoxes * kCallsOfEach);
  EXPECT_EQ(ledger.refused, 0);
  EXPECT_GT(ledger.most_tokens, kTokenCap);
  EXPECT_GT(microusd, kMicrousdCap);
}

/// While another process has the database, nothing is let through, and nothing is lost.
TEST_F(ModelsBroker, AStoreThatDoesNotAnswerLetsNothingThrough) {
  Broker broker(prepared(folder.file("hako.db"), ""));
  auto work = [&]() -> Task<void> {
    auto executor = co_await asio::this_coro::executor;
    TaskGroup serving(executor);
    ServedGate served(executor, broker.budgets, serving);
    Gate& gate = served.gate;
    auto before = co_await gate.reserve("i1");
    CO_ASSERT_TRUE(before);

    auto other = store::Database::open(folder.file("hako.db"));
    CO_ASSERT_TRUE(other);
    CO_ASSERT_TRUE(other.value().execute("BEGIN EXCLUSIVE"));
    auto refused = co_await gate.reserve("i1");
    EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
    EXPECT_EQ(refused.error().message().find("database"), std::string::npos)
        << refused.error().message();
    wire::ModelUsage usage{.input_tokens = 5, .output_tokens = 6};
    auto unsettled = co_await gate.settle(before.value(), "ok", usage);
    EXPECT_EQ(unsettled.error().code(), ErrorCode::unavailable);
    CO_ASSERT_TRUE(other.value().execute("ROLLBACK"));

    // The gate says it again, and again.
    CO_ASSERT_TRUE(co_await gate.settle(before.value(), "ok", usage));
    CO_ASSERT_TRUE(co_await gate.settle(before.value(), "ok", usage));
    auto rows = co_await usage_of_all(broker.budgets);
    CO_ASSERT_TRUE(rows && rows.value().size() == 1);
    EXPECT_EQ(rows.value()[0].requests, 1);
    EXPECT_EQ(rows.value()[0].tokens.output, 6);
    co_await serving.stop();
  };
  test::run_on(broker.loop, work(), 60s);
}

/// What nobody tells of costs as much as it may have, after a while, and for good.
TEST_F(ModelsBroker, ALostCallIsNotGivenBack) {
  Broker broker(prepared(folder.file("hako.db"), R"({"modelTokens":3000})"));
  auto work = [&]() -> Task<void> {
    rpc::Payload asked;
    asked.body = {{"box", "i1"}, {"host", "llm.example"}, {"api", "anthropic"}, {"model", "m"},
                  {"path", "/"}, {"input_bytes", kInputBytes}, {"max_output_tokens", kMostOutput},
                  {"opaque_input", false}, {"answers", 1}};
    asked.body["extras"] = boost::json::array();
    rpc::Payload again;
    again.body = asked.body;
    rpc::Payload later;
    later.body = asked.body;
    auto first = co_await broker.budgets.reserve(std::move(asked));
    CO_ASSERT_TRUE(first);
    int64_t now = to_unix_ms(WallClock::now());
    CO_ASSERT_TRUE(co_await broker.budgets.settle_lost(now));
    auto second = co_await broker.budgets.reserve(std::move(again));
    EXPECT_EQ(second.error().code(), ErrorCode::resource_exhausted);
    CO_ASSERT_TRUE(co_await broker.budgets.settle_lost(now + 61 * 60 * 1000));
    auto rows = co_await usage_of_all(broker.budgets);
    CO_ASSERT_TRUE(rows && rows.value().size() == 1);
    EXPECT_EQ(rows.value()[0].unconfirmed_tokens, kTokensSetAside);
    auto third = co_await broker.budgets.reserve(std::move(later));
    EXPECT_EQ(third.error().code(), ErrorCode::resource_exhausted);
  };
  test::run_on(broker.loop, work(), 60s);
}

/// Many boxes together can ask for more at once than the store lets wait.
TEST_F(ModelsBroker, CallsDoNotKeepOthersFromTheStore) {
  Broker broker(prepared(folder.file("hako.db"), ""));
  auto work = [&]() -> Task<void> {
    auto executor = co_await asio::this_coro::executor;
    TaskGroup serving(executor);
    ServedGate served(executor, broker.budgets, serving);
    Gate& gate = served.gate;
    constexpr size_t kCalls = store::AsyncStore::kMostWaiting + 200;
    size_t let_through = 0, ended = 0;
    auto call = [&](size_t number) -> Task<void> {
      auto reservation = co_await gate.reserve("i" + std::to_string(number % kBoxes));
      EXPECT_TRUE(reservation) << reservation.error().message();
      if (reservation) ++let_through;
      ++ended;
    };
    for (size_t i = 0; i < kCalls; ++i) serving.spawn("call", call(i));
    size_t looked = 0;
    while (ended < kCalls) {
      store::SandboxQuery all;
      auto counted = co_await broker.store.count_sandboxes(std::move(all));
      EXPECT_TRUE(counted) << counted.error().message();
      ++looked;
    }
    EXPECT_EQ(let_through, kCalls);
    EXPECT_GT(looked, 10u);
    co_await serving.stop();
  };
  test::run_on(broker.loop, work(), 60s);
}

TEST_F(ModelsBroker, ABoxMayNotAskWithoutEnd) {
  Broker broker(prepared(folder.file("hako.db"), ""), {.per_second = 0.001, .burst = 3});
  auto work = [&]() -> Task<void> {
    auto executor = co_await asio::this_coro::executor;
    TaskGroup serving(executor);
    ServedGate served(executor, broker.budgets, serving);
    Gate& gate = served.gate;
    for (int i = 0; i < 3; ++i) CO_ASSERT_TRUE(co_await gate.reserve("i1"));
    auto refused = co_await gate.reserve("i1");
    EXPECT_EQ(refused.error().code(), ErrorCode::resource_exhausted);
    CO_ASSERT_TRUE(co_await gate.reserve("i2"));
    auto unknown = co_await gate.reserve("nobody");
    EXPECT_EQ(unknown.error().code(), ErrorCode::not_found);
    co_await serving.stop();
  };
  test::run_on(broker.loop, work(), 60s);
}

/// The broker as a process of its own, which can be killed.
class BrokerProcess {
 public:
  explicit BrokerProcess(const std::string& path) {
    auto [ours, theirs] = connected();
    pid_ = ::fork();
    if (pid_ == 0) {
      ours = Fd();
      serve(path, std::move(theirs));
      ::_exit(0);
    }
    end = std::move(ours);
  }
  ~BrokerProcess() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  Fd end;

 private:
  static void serve(const std::string& path, Fd connection) {
    Broker broker(path);
    rpc::Peer gate(broker.loop.get_executor(), std::move(connection));
    broker.budgets.register_on(gate);
    asio::co_spawn(broker.loop, gate.run(), asio::detached);
    broker.loop.run();
  }
  pid_t pid_ = -1;
};

/// Killed in the middle of it, again and again: nothing passes while it is gone, and what had been let
/// through counts for ever, whether it was told of or not.
TEST_F(ModelsBroker, AKilledOneLetsNothingThroughAndForgetsNothing) {
  constexpr int64_t kCap = 1000;
  std::string path = prepared(folder.file("hako.db"),
                              "{\"modelRequests\":" + std::to_string(kCap) + "}");
  int64_t through = 0;
  int killed = 0;
  bool spent = false;
  for (int round = 0; round < 200 && !spent; ++round) {
    BrokerProcess broker(path);
    auto work = [&]() -> Task<void> {
      auto executor = co_await asio::this_coro::executor;
      TaskGroup tasks(executor);
      Gate gate(executor, std::move(broker.end));
      tasks.spawn("gate", gate.peer.run());
      int left = 10;
      bool gone = false;
      auto box = [&](int number) -> Task<void> {
        while (!spent) {
          auto reserved = co_await gate.reserve("i" + std::to_string(number));
          if (reserved) {
            ++through;
            EXPECT_FALSE(gone) << "after its end";
            continue;
          }
          if (reserved.error().code() == ErrorCode::resource_exhausted) spent = true;
          if (reserved.error().code() == ErrorCode::unavailable) break;
        }
        --left;
      };
      for (int i = 0; i < 10; ++i) tasks.spawn("box", box(i));
      // Later and later, however slow this machine is, so that it is done at some time.
      co_await sleep_for(std::chrono::milliseconds(20 + round));
      if (!spent) ++killed;
      broker.kill();
      co_await sleep_for(5ms);  // answers that were on their way
      gone = true;
      while (left > 0) co_await sleep_for(1ms);
      auto refused = co_await gate.reserve("i1");
      EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
      co_await tasks.stop();
    };
    asio::io_context loop;
    test::run_on(loop, work(), 60s);
  }
  EXPECT_TRUE(spent);
  EXPECT_GT(killed, 2) << "in the middle of it";
  EXPECT_LE(through, kCap);
  // Those whose answers were lost with it count, too.
  auto store = store::open_sqlite_store(path);
  ASSERT_TRUE(store);
  EXPECT_EQ(store.value()->models().count_open().value(), kCap);
}

}  // namespace
}  // namespace hako::api
