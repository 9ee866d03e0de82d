// A process that writes a log under load is killed again and again: afterwards the log opens,
// verifies, and has every record whose writer was told that it is there. And a disk that is full.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <csignal>
#include <random>
#include <set>

#include "support/audit_lab.h"
#include "support/run_task.h"

namespace hako::audit {
namespace {
namespace json = boost::json;
using namespace testing_support;
using namespace std::chrono_literals;

constexpr int kWriters = 64;

/// What the process under load does; `told_before` takes away what is tested: it says that a record
/// is there without having waited for it.
struct Load {
  LogOptions options;
  int first = 0;     ///< number of the first record
  int told_to = -1;  ///< a pipe for the numbers of those that are there
  bool told_before = false;
  /// The kernel ends the process when a file reaches this, in the middle of a write(2); 0: never.
  rlim_t ends_at = 0;
};

void tell(const Load& load, int number) {
  if (::write(load.told_to, &number, sizeof number) != sizeof number) ::_exit(3);
}

/// Of all sizes, so that a write is often cut in the middle of a line.
Record record_of(int number) {
  Record record = some_record(number);
  record.details.emplace_back("command", std::string(size_t(number * 37 % 2000), 'x'));
  return record;
}

Task<void> write_without_end(const Load& load, Log& log, int& next) {
  for (;;) {
    int number = next++;
    if (load.told_before) {
      log.append_later(record_of(number));
      tell(load, number);
      co_await sleep_for(100us);
      continue;
    }
    Record record = record_of(number);
    auto written = co_await log.append(std::move(record));
    if (!written) ::_exit(2);
    tell(load, number);
  }
}

[[noreturn]] void run_load(const Load& load) {
  rlimit none{0, 0};  // no core
  ::setrlimit(RLIMIT_CORE, &none);
  if (load.ends_at > 0) {
    rlimit limit{load.ends_at, load.ends_at};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  auto log = Log::open(load.options);
  if (!log) ::_exit(1);
  asio::io_context loop;
  int next = load.first;
  for (int i = 0; i < kWriters; ++i) {
    asio::co_spawn(loop, write_without_end(load, *log.value(), next), asio::detached);
  }
  loop.run();
  ::_exit(4);
}

/// What one process got to tell before it was killed.
struct Round {
  std::vector<int> told;
  int status = 0;
};

Round kill_in_the_middle(Load load, std::chrono::microseconds after) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  load.told_to = ends[1];
  pid_t child = ::fork();
  if (child == 0) run_load(load);
  ::close(ends[1]);
  std::this_thread::sleep_for(after);
  ::kill(child, SIGKILL);
  Round round;
  ::waitpid(child, &round.status, 0);
  for (int number; ::read(ends[0], &number, sizeof number) == sizeof number;) {
    round.told.push_back(number);
  }
  ::close(ends[0]);
  return round;
}

/// Numbers of the records that are there, of those from `first` on.
std::set<int> numbers_in(const AuditLab& lab, int first) {
  std::set<int> found;
  for (const auto& line : lab.lines()) {
    auto record = json::parse(line).as_object();
    if (!record.contains("sandbox")) continue;
    int number = std::stoi(std::string(record["sandbox"].as_string()).substr(1));
    if (number >= first) found.insert(number);
  }
  return found;
}

struct Tally {
  int rounds = 0, told = 0, lost = 0, torn = 0;
};

/// Kills `rounds` processes, one after another, that write to the same log.
void kill_again_and_again(Tally& tally, std::mt19937& random, int rounds, bool told_before) {
  AuditLab lab;
  Load load;
  load.options = lab.options();
  load.options.segment_bytes = 300'000;
  load.options.sign_every = 5ms;
  load.options.sync_every = 3ms;
  load.told_before = told_before;
  std::uniform_int_distribution<int> moments(0, 100'000 * test::kSlowness);
  std::uniform_int_distribution<rlim_t> sizes(1, 300'000);
  for (int i = 0; i < rounds; ++i) {
    load.ends_at = i % 2 == 0 ? 0 : sizes(random);
    Round round = kill_in_the_middle(load, std::chrono::microseconds(moments(random)));
    ASSERT_TRUE(WIFSIGNALED(round.status)) << "it ended by itself: " << round.status;
    std::string text = lab.segments().empty() ? "\n" : lab.text(lab.segments().back());
    if (!text.empty() && text.back() != '\n') ++tally.torn;
    {
      auto log = Log::open(load.options);
      ASSERT_TRUE(log) << log.error().message();
    }
    auto verdict = lab.verify();
    ASSERT_TRUE(verdict) << verdict.error().message();
    ASSERT_FALSE(verdict.value().problem)
        << verdict.value().problem->segment << ":" << verdict.value().problem->line << " "
        << verdict.value().problem->text;
    auto there = numbers_in(lab, load.first);
    for (int number : round.told) tally.lost += there.contains(number) ? 0 : 1;
    tally.told += int(round.told.size());
    ++tally.rounds;
    load.first += 1'000'000;
  }
}

TEST(AuditCrash, NothingThatWasToldIsLost) {
  unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  Tally tally;
  for (int log = 0; log < 12; ++log) {
    ASSERT_NO_FATAL_FAILURE(kill_again_and_again(tally, random, 10, false));
  }
  std::cout << tally.rounds << " times killed, " << tally.told << " records told, " << tally.torn
            << " torn ends\n";
  EXPECT_EQ(tally.lost, 0);
  EXPECT_GT(tally.torn, 0);
  EXPECT_GT(tally.told, 1000);
}

TEST(AuditCrash, ItWouldShowIfARecordWereToldBeforeItIsThere) {
  std::mt19937 random(1);
  Tally tally;
  for (int log = 0; log < 10 && tally.lost == 0; ++log) {
    ASSERT_NO_FATAL_FAILURE(kill_again_and_again(tally, random, 10, true));
  }
  EXPECT_GT(tally.lost, 0);
}

class FullDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::mount("tmpfs", lab_.folder().c_str(), "tmpfs", 0, "size=64k,mode=0700") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs here";
    }
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) ::umount2(lab_.folder().c_str(), MNT_DETACH);
  }
  AuditLab lab_;
  bool mounted_ = false;
};

TEST_F(FullDisk, IsAnErrorAndThenItGoesOn) {
  auto options = lab_.options();
  options.segment_bytes = 10'000;  // so that beginning a segment fails, too
  options.sign_every = 1h;
  options.sync_every = 10ms;
  auto log = Log::open(options);
  ASSERT_TRUE(log) << log.error().message();
  int written = 0;
  Result<void> last = ok();
  while (written < 10'000) {
    last = lab_.append(*log.value(), record_of(written));
    if (!last) break;
    ++written;
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code(), ErrorCode::no_space) << last.error().message();
  EXPECT_GT(written, 10);
  EXPECT_FALSE(log.value()->ready());
  for (int64_t segment : lab_.segments()) {
    std::string text = lab_.text(segment);
    EXPECT_TRUE(text.empty() || text.back() == '\n');
  }
  ASSERT_EQ(::mount("tmpfs", lab_.folder().c_str(), "tmpfs", MS_REMOUNT, "size=4m"), 0);
  for (int i = 0; i < 1000 && !log.value()->ready(); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(log.value()->ready());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(lab_.append(*log.value(), record_of(written + 1 + i)));
  log.value()->close();
  auto verdict = lab_.verify();
  ASSERT_TRUE(verdict);
  EXPECT_FALSE(verdict.value().problem) << verdict.value().problem->text;
  auto there = numbers_in(lab_, 0);
  EXPECT_EQ(there.size(), size_t(written + 50));
  EXPECT_FALSE(there.contains(written));  // whoever asked was told that it is not
}

TEST_F(FullDisk, OfAFullDiskNoLogIsBegun) {
  int fill = ::open((lab_.folder() + "/fill").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  std::string block(4096, 'x');
  while (::write(fill, block.data(), block.size()) > 0) continue;
  ::close(fill);
  auto log = Log::open(lab_.options());
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code(), ErrorCode::no_space) << log.error().message();
  std::filesystem::remove(lab_.folder() + "/fill");
  log = Log::open(lab_.options());
  EXPECT_TRUE(log) << log.error().message();
}

}  // namespace
}  // namespace hako::audit
