// The log as it is written: chained, signed, rotated, recovered, refused.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <set>

#include "support/audit_lab.h"
#include "support/in_child.h"

namespace {
/// How many of the next calls of fdatasync(2) fail, as those of a broken disk do.
std::atomic<int> failing_syncs = 0;
}  // namespace

/// In the place of the C library's.
extern "C" int fdatasync(int fd) {
  if (failing_syncs > 0) {
    --failing_syncs;
    errno = EIO;
    return -1;
  }
  return int(::syscall(SYS_fdatasync, fd));
}

namespace hako::audit {
namespace {
namespace json = boost::json;
using namespace testing_support;
using namespace std::chrono_literals;

std::string member(const std::string& line, std::string_view name) {
  auto value = json::parse(line);
  auto* found = value.as_object().if_contains(name);
  return found && found->is_string() ? std::string(found->as_string()) : std::string();
}

TEST(AuditLog, RecordsChainAndHeadsAreSigned) {
  AuditLab lab;
  {
    auto log = Log::open(lab.options());
    ASSERT_TRUE(log) << log.error().message();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(lab.append(*log.value(), some_record(i)));
    log.value()->close();
  }
  auto lines = lab.lines();
  ASSERT_EQ(lines.size(), 5u);  // a head, three, a head
  std::string previous = no_hash();
  for (size_t i = 0; i < lines.size(); ++i) {
    auto link = parse_link(lines[i]);
    ASSERT_TRUE(link) << lines[i];
    EXPECT_EQ(link->sequence, int64_t(i + 1));
    EXPECT_EQ(link->previous, previous);
    previous = hash_line(lines[i]);
  }
  EXPECT_EQ(member(lines[0], "why"), "start");
  EXPECT_EQ(member(lines[1], "action"), "sandbox.create");
  EXPECT_EQ(member(lines[4], "why"), "close");
  EXPECT_TRUE(is_signed_by(lines[0], lab.key()));
  EXPECT_TRUE(is_signed_by(lines[4], lab.key()));
  EXPECT_EQ(read_file(head_path(lab.directory())).value(), lines[4] + "\n");
  auto verdict = lab.verify();
  ASSERT_TRUE(verdict) << verdict.error().message();
  EXPECT_FALSE(verdict.value().problem) << verdict.value().problem->text;
  EXPECT_EQ(verdict.value().records, 5);
  EXPECT_TRUE(verdict.value().closed);
}

TEST(AuditLog, FilesAreTheOwnersAlone) {
  AuditLab lab;
  {
    auto log = Log::open(lab.options());
    ASSERT_TRUE(log);
  }
  auto mode = [](const std::string& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777;
  };
  EXPECT_EQ(mode(lab.directory()), 0700u);
  EXPECT_EQ(mode(lab.folder() + "/key"), 0600u);
  EXPECT_EQ(mode(segment_path(lab.directory(), 1)), 0600u);
  EXPECT_EQ(public_key_from(read_file(lab.folder() + "/key.pem").value()), lab.key());
}

TEST(AuditLog, GoesOnBehindTheLastRecord) {
  AuditLab lab;
  for (int run = 0; run < 3; ++run) {
    auto log = Log::open(lab.options());
    ASSERT_TRUE(log) << log.error().message();
    ASSERT_TRUE(lab.append(*log.value(), some_record(run)));
  }
  auto verdict = lab.verify();
  ASSERT_TRUE(verdict);
  EXPECT_FALSE(verdict.value().problem);
  EXPECT_EQ(verdict.value().records, 9);
}

TEST(AuditLog, ManyAtOnceAreAllWritten) {
  AuditLab lab;
  auto options = lab.options();
  options.segment_bytes = 100'000;
  auto log = Log::open(options);
  ASSERT_TRUE(log);
  asio::io_context loop;
  int written = 0;
  auto one = [](Log& log, int number, int& written) -> Task<void> {
    auto outcome = co_await log.append(some_record(number));
    if (outcome) ++written;
  };
  for (int i = 0; i < 2000; ++i) {
    asio::co_spawn(loop, one(*log.value(), i, written), asio::detached);
  }
  loop.run();
  log.value()->close();
  EXPECT_EQ(written, 2000);
  EXPECT_GT(lab.segments().size(), 1u);
  std::set<std::string> boxes;
  for (const auto& line : lab.lines()) boxes.insert(member(line, "sandbox"));
  EXPECT_EQ(boxes.size(), 2001u);  // and that of the heads, which is none
  auto verdict = lab.verify();
  ASSERT_TRUE(verdict);
  EXPECT_FALSE(verdict.value().problem);
}

TEST(AuditLog, SegmentsBeginAndEndWithHeads) {
  AuditLab lab;
  auto options = lab.options();
  options.segment_bytes = 2000;
  {
    auto log = Log::open(options);
    ASSERT_TRUE(log);
    for (int i = 0; i < 45; ++i) ASSERT_TRUE(lab.append(*log.value(), some_record(i)));
  }
  auto segments = lab.segments();
  ASSERT_GT(segments.size(), 3u);
  for (int64_t segment : segments) {
    auto lines = lab.lines(segment);
    EXPECT_TRUE(is_signed_by(lines.front(), lab.key()));
    EXPECT_TRUE(is_signed_by(lines.back(), lab.key()));
    EXPECT_EQ(parse_link(lines.front())->sequence, segment);
  }
}

TEST(AuditLog, OldSegmentsGoAndThatIsTold) {
  AuditLab lab;
  auto options = lab.options();
  options.segment_bytes = 2000;
  options.keep_segments = 2;
  {
    auto log = Log::open(options);
    ASSERT_TRUE(log);
    for (int i = 0; i < 45; ++i) ASSERT_TRUE(lab.append(*log.value(), some_record(i)));
  }
  auto segments = lab.segments();
  EXPECT_EQ(segments.size(), 2u);
  EXPECT_GT(segments.front(), 1);
  auto verdict = lab.verify();
  ASSERT_TRUE(verdict);
  EXPECT_FALSE(verdict.value().problem) << verdict.value().problem->text;
  EXPECT_EQ(verdict.value().first_sequence, segments.front());

  // One more, which nobody has told of.
  std::filesystem::remove(segment_path(lab.directory(), segments.front()));
  verdict = lab.verify();
  ASSERT_TRUE(verdict);
  ASSERT_TRUE(verdict.value().problem);
  EXPECT_EQ(verdict.value().problem->flaw, Flaw::missing);
  EXPECT_EQ(verdict.value().problem->sequence, 1);
  Expectation meant;
  meant.begins_at = segments.back();
  verdict = lab.verify(meant);
  ASSERT_TRUE(verdict);
  EXPECT_FALSE(verdict.value().problem) << verdict.value().problem->text;
}

TEST(AuditLog, HeadsAreSignedAndPublishedNowAndThen) {
  AuditLab lab;
  auto options = lab.options();
  options.sign_every = 20ms;
  options.sync_every = 10ms;
  auto log = Log::open(options);
  ASSERT_TRUE(log);
  std::string first = log.value()->head();
  ASSERT_TRUE(is_signed_by(first, lab.key()));
  ASSERT_TRUE(lab.append(*log.value(), some_record(1)));
  while (log.value()->head() == first) std::this_thread::sleep_for(5ms);
  std::string second = log.value()->head();
  EXPECT_EQ(member(second, "why"), "interval");
  EXPECT_EQ(parse_link(second)->sequence, 3);
  EXPECT_EQ(read_file(head_path(lab.directory())).value(), second + "\n");
  // Nothing new: nothing to sign.
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(lab.lines().size(), 3u);
}

TEST(AuditLog, OneWriterAtATime) {
  AuditLab lab;
  auto log = Log::open(lab.options());
  ASSERT_TRUE(log);
  auto second = Log::open(lab.options());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::failed_precondition);
  EXPECT_FALSE(seal_off(lab.directory()));
}

TEST(AuditLog, WhatIsTornIsCutOffAndTold) {
  for (std::string torn : {std::string("{\"seq\":4,\"prev\":\"00"), std::string(5000, '\0'),
                           std::string("\xff\xfe garbage")}) {
    AuditLab lab;
    {
      auto log = Log::open(lab.options());
      ASSERT_TRUE(log);
      ASSERT_TRUE(lab.append(*log.value(), some_record(1)));
    }
    lab.put_text(1, lab.text(1) + torn);
    ASSERT_TRUE(lab.verify().value().problem);
    {
      auto log = Log::open(lab.options());
      ASSERT_TRUE(log) << log.error().message();
    }
    auto lines = lab.lines();
    auto told = json::parse(lines.at(3)).as_object();
    EXPECT_EQ(told["audit"].as_string(), "recovered");
    EXPECT_EQ(told["cut_bytes"].as_int64(), int64_t(torn.size()));
    EXPECT_FALSE(lab.verify().value().problem);
  }
}

TEST(AuditLog, ASegmentThatHadOnlyBegunIsBegunAnew) {
  AuditLab lab;
  auto options = lab.options();
  options.segment_bytes = 2000;
  {
    auto log = Log::open(options);
    ASSERT_TRUE(log);
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(lab.append(*log.value(), some_record(i)));
  }
  int64_t next = verify_log(lab.directory(), lab.key()).value().last_sequence + 1;
  for (std::string begun : {"", "{\"seq\":"}) {
    lab.put_text(next, begun);
    auto log = Log::open(options);
    ASSERT_TRUE(log) << log.error().message();
    log.value()->close();
    EXPECT_FALSE(std::filesystem::exists(segment_path(lab.directory(), next)));
    auto verdict = lab.verify().value();
    EXPECT_FALSE(verdict.problem) << verdict.problem->text;
    next = verdict.last_sequence + 1;
  }
}

/// What is done to a log that is not written to, so that it is refused.
class Refusal : public ::testing::Test {
 protected:
  void SetUp() override {
    auto log = Log::open(lab_.options());
    ASSERT_TRUE(log);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(lab_.append(*log.value(), some_record(i)));
  }
  void expect_refused() {
    std::string before = lab_.text(lab_.segments().empty() ? 1 : lab_.segments().back());
    auto log = Log::open(lab_.options());
    ASSERT_FALSE(log);
    EXPECT_EQ(log.error().code(), ErrorCode::corrupted) << log.error().message();
    EXPECT_NE(log.error().message().find("seal-off"), std::string::npos);
    EXPECT_EQ(lab_.text(lab_.segments().empty() ? 1 : lab_.segments().back()), before);
    auto moved = seal_off(lab_.directory());
    ASSERT_TRUE(moved) << moved.error().message();
    EXPECT_TRUE(std::filesystem::exists(moved.value()));
    EXPECT_TRUE(Log::open(lab_.options()));
  }
  AuditLab lab_;
};

TEST_F(Refusal, AChangedByte) {
  auto lines = lab_.lines(1);
  lines[2][200] ^= 1;
  lab_.put(1, lines);
  expect_refused();
}
TEST_F(Refusal, AMissingRecord) {
  auto lines = lab_.lines(1);
  lines.erase(lines.begin() + 3);
  lab_.put(1, lines);
  expect_refused();
}
TEST_F(Refusal, AnEndThatWasCutOff) {
  auto lines = lab_.lines(1);
  lines.pop_back();  // the head that head.json names
  lab_.put(1, lines);
  expect_refused();
}
TEST_F(Refusal, ALogThatIsGone) {
  std::filesystem::remove(segment_path(lab_.directory(), 1));
  expect_refused();
}
TEST_F(Refusal, AKeyThatIsGone) {
  std::filesystem::remove(lab_.folder() + "/key");
  expect_refused();
}
TEST_F(Refusal, AnotherKey) {
  AuditLab other;
  { ASSERT_TRUE(Log::open(other.options())); }
  std::filesystem::copy_file(other.folder() + "/key", lab_.folder() + "/key",
                             std::filesystem::copy_options::overwrite_existing);
  expect_refused();
}
TEST_F(Refusal, ForgedRecordsBehindTheHead) {
  // Without the key one can chain, and not sign: at the next segment, or head, it shows. Here the
  // forger has a head of his own.
  AuditLab other;
  { ASSERT_TRUE(Log::open(other.options())); }
  auto lines = lab_.lines(1);
  lines.push_back(other.lines(1).back());
  lab_.put(1, lines);
  expect_refused();
}

TEST(AuditLog, SomebodyElseWriting) {
  for (bool removes : {false, true}) {
    AuditLab lab;
    auto log = Log::open(lab.options());
    ASSERT_TRUE(log);
    ASSERT_TRUE(lab.append(*log.value(), some_record(1)));
    if (removes) {
      std::filesystem::remove(segment_path(lab.directory(), 1));
    } else {
      std::ofstream(segment_path(lab.directory(), 1), std::ios::app) << "x\n";
    }
    std::string before = lab.text(1);
    auto outcome = lab.append(*log.value(), some_record(2));
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code(), ErrorCode::corrupted);
    EXPECT_FALSE(log.value()->ready());
    EXPECT_EQ(lab.text(1), before);
  }
}

/// With a limit on the size of files in the place of a full disk: writes stop in the middle of a
/// line. (A disk that is really full: audit_crash_test.)
int no_room_left() {
  AuditLab lab;
  auto options = lab.options();
  options.sign_every = 1h;
  auto log = Log::open(options);
  if (!log) return 1;
  ::signal(SIGXFSZ, SIG_IGN);
  if (!lab.append(*log.value(), some_record(0))) return 2;
  rlimit limit{lab.text(1).size() + 100, RLIM_INFINITY};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  auto refused = lab.append(*log.value(), some_record(1));
  if (refused) return 3;
  if (log.value()->ready()) return 4;
  if (lab.lines().size() != 2 || lab.text(1).back() != '\n') return 5;  // nothing torn is left
  log.value()->append_later(some_record(2));
  limit.rlim_cur = RLIM_INFINITY;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  // By itself, without anybody asking.
  for (int i = 0; i < 1000 && !log.value()->ready(); ++i) std::this_thread::sleep_for(10ms);
  if (!log.value()->ready()) return 6;
  if (!lab.append(*log.value(), some_record(3))) return 7;
  log.value()->close();
  auto lines = lab.lines();
  if (lines.size() != 6) return 8;
  auto gap = json::parse(lines[2]).as_object();
  if (gap["audit"] != "gap" || gap["refused"] != 1 || gap["dropped"] != 0) return 9;
  if (member(lines[3], "sandbox") != "i2" || member(lines[4], "sandbox") != "i3") return 10;
  return lab.verify().value().problem ? 11 : 0;
}

TEST(AuditLog, WithoutRoomNothingIsTornAndItGoesOnByItself) {
  EXPECT_EQ(hako::testing_support::in_child(no_room_left), 0);
}

int more_than_can_be_kept() {
  AuditLab lab;
  auto log = Log::open(lab.options());
  if (!log) return 1;
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{lab.text(1).size() + 10, RLIM_INFINITY};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  if (lab.append(*log.value(), some_record(0))) return 2;
  // What is just being written, if in vain, is kept beside those that wait.
  constexpr size_t kMany = 2 * Log::kMostWaiting;
  for (size_t i = 0; i < kMany; ++i) log.value()->append_later(some_record(1));
  limit.rlim_cur = RLIM_INFINITY;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  if (!lab.append(*log.value(), some_record(2))) return 3;
  log.value()->close();
  int64_t dropped = 0;
  int64_t kept = 0;
  for (const auto& line : lab.lines()) {
    auto record = json::parse(line).as_object();
    if (record.contains("dropped")) dropped += record["dropped"].as_int64();
    if (member(line, "sandbox") == "i1") ++kept;
  }
  if (dropped == 0) return 4;
  if (kept + dropped != int64_t(kMany)) return 5;
  return lab.verify().value().problem ? 6 : 0;
}

TEST(AuditLog, WhatCannotBeKeptIsCounted) {
  EXPECT_EQ(hako::testing_support::in_child(more_than_can_be_kept), 0);
}

ino_t file_number(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_ino;
}

bool becomes_ready(Log& log, bool ready) {
  for (int i = 0; i < 2000 && bool(log.ready()) != ready; ++i) std::this_thread::sleep_for(5ms);
  return bool(log.ready()) == ready;
}

TEST(AuditLog, AfterAFailedSyncAllIsWrittenToANewFile) {
  AuditLab lab;
  auto options = lab.options();
  options.sync_every = 20ms;
  auto log = Log::open(options);
  ASSERT_TRUE(log);
  std::string path = segment_path(lab.directory(), 1);
  ino_t before = file_number(path);
  failing_syncs = 1;
  ASSERT_TRUE(lab.append(*log.value(), some_record(0)));
  // The next sync would succeed, whatever has become of what was written.
  for (int i = 0; i < 2000 && file_number(path) == before; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_NE(file_number(path), before);
  EXPECT_TRUE(becomes_ready(*log.value(), true));
  ASSERT_TRUE(lab.append(*log.value(), some_record(1)));
  log.value()->close();
  auto lines = lab.lines();
  ASSERT_EQ(lines.size(), 4u);  // a head, two, a head
  EXPECT_EQ(member(lines[1], "sandbox"), "i0");
  EXPECT_EQ(member(lines[2], "sandbox"), "i1");
  EXPECT_FALSE(lab.verify().value().problem);
}

TEST(AuditLog, WhatAFailedSyncHasLostIsNotGlossedOver) {
  AuditLab lab;
  auto options = lab.options();
  options.sync_every = 20ms;
  auto log = Log::open(options);
  ASSERT_TRUE(log);
  std::string head = log.value()->head();
  ASSERT_TRUE(lab.append(*log.value(), some_record(0)));
  for (int i = 0; i < 5; ++i) std::this_thread::sleep_for(20ms);  // it is on the disk
  ASSERT_TRUE(lab.append(*log.value(), some_record(1)));
  // The kernel has let go of the last record: its bytes are zeros now.
  std::string path = segment_path(lab.directory(), 1);
  std::string text = lab.text(1);
  failing_syncs = 1;
  {
    Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    std::string zeros(100, '\0');
    ASSERT_EQ(::pwrite(file.get(), zeros.data(), zeros.size(), off_t(text.size() - 100)), 100);
  }
  // Whichever of the two records' syncs it was that failed.
  log.value()->append_later(some_record(2));
  ASSERT_TRUE(becomes_ready(*log.value(), false));
  for (int i = 0; i < 3; ++i) {
    auto refused = lab.append(*log.value(), some_record(3));
    ASSERT_FALSE(refused) << "it goes on as if nothing had been lost";
    EXPECT_EQ(refused.error().code(), ErrorCode::corrupted);
    EXPECT_FALSE(log.value()->ready());
  }
  EXPECT_EQ(log.value()->head(), head) << "a head was published that is not on the disk";
  log.value()->close();
  EXPECT_FALSE(Log::open(lab.options())) << "what is left must be looked at by an operator";
}

TEST(AuditLog, AFailedSyncAtTheEndOfASegmentIsMadeGood) {
  AuditLab lab;
  auto options = lab.options();
  options.segment_bytes = 1500;
  options.sync_every = 1h;
  auto log = Log::open(options);
  ASSERT_TRUE(log);
  std::string path = segment_path(lab.directory(), 1);
  ino_t before = file_number(path);
  while (lab.text(1).size() < 1500) ASSERT_TRUE(lab.append(*log.value(), some_record(1)));
  failing_syncs = 1;
  auto refused = lab.append(*log.value(), some_record(2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(lab.segments().size(), 1u) << "a new one was begun behind what may be lost";
  ASSERT_TRUE(lab.append(*log.value(), some_record(3)));
  EXPECT_NE(file_number(path), before);
  EXPECT_EQ(lab.segments().size(), 2u);
  log.value()->close();
  EXPECT_FALSE(lab.verify().value().problem);
}

/// What a link in the place of one of the log's files leads to is neither read nor written.
TEST(AuditLog, LinksAreNotFollowed) {
  namespace fs = std::filesystem;
  auto refused = [](const AuditLab& lab) {
    auto log = Log::open(lab.options());
    if (log) return std::string("it was opened");
    EXPECT_EQ(log.error().code(), ErrorCode::failed_precondition) << log.error().message();
    return log.error().message();
  };
  for (std::string name : {"audit/head.json", "audit/audit-0000000000000001.jsonl", "audit/lock",
                           "key", "audit"}) {
    AuditLab lab;
    { ASSERT_TRUE(Log::open(lab.options())); }
    // All is as it was, but for the link: followed, it would do.
    fs::rename(lab.folder() + "/" + name, lab.folder() + "/elsewhere");
    fs::create_symlink(lab.folder() + "/elsewhere", lab.folder() + "/" + name);
    EXPECT_NE(refused(lab).find("not followed"), std::string::npos) << name;
    if (name == "audit") {
      EXPECT_FALSE(seal_off(lab.directory() + "/"));
    }
    fs::remove(lab.folder() + "/" + name);
    fs::rename(lab.folder() + "/elsewhere", lab.folder() + "/" + name);
    EXPECT_TRUE(Log::open(lab.options())) << name;
  }
}

TEST(AuditLog, APipeInThePlaceOfAFileHoldsNobodyUp) {
  AuditLab lab;
  { ASSERT_TRUE(Log::open(lab.options())); }
  std::filesystem::remove(head_path(lab.directory()));
  ASSERT_EQ(::mkfifo(head_path(lab.directory()).c_str(), 0600), 0);
  EXPECT_FALSE(Log::open(lab.options()));
  EXPECT_FALSE(lab.verify());
}

}  // namespace
}  // namespace hako::audit
