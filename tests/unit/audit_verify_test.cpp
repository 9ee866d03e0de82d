// What somebody may do to a copy of a log: each is found, at the record it was done to.
#include <gtest/gtest.h>

#include "support/audit_lab.h"

namespace hako::audit {
namespace {
using namespace testing_support;

std::string describe(const Verdict& verdict) {
  if (!verdict.problem) return "nothing is wrong";
  const Problem& problem = *verdict.problem;
  return std::string(to_string(problem.flaw)) + " at " + problem.segment + ":" +
         std::to_string(problem.line) + " record " + std::to_string(problem.sequence) + ": " +
         problem.text;
}

class AuditVerify : public ::testing::Test {
 protected:
  /// Some segments, each of several records, and an orderly end.
  void SetUp() override {
    auto options = lab_.options();
    options.segment_bytes = 2000;
    auto log = Log::open(options);
    ASSERT_TRUE(log);
    for (int i = 0; i < 25; ++i) ASSERT_TRUE(lab_.append(*log.value(), some_record(i)));
    log.value()->close();
    lab_.keep_copy();
    segments_ = lab_.segments();
    ASSERT_GE(segments_.size(), 4u);
    middle_ = segments_[1];
    lines_ = lab_.lines(middle_);
    ASSERT_GE(lines_.size(), 6u);
    last_ = lab_.verify().value().last_sequence;
    ASSERT_FALSE(lab_.verify().value().problem) << describe(lab_.verify().value());
  }

  void expect(Flaw flaw, int64_t segment, int64_t line, int64_t sequence,
              const Expectation& expected = {}) {
    auto verdict = lab_.verify(expected);
    ASSERT_TRUE(verdict) << verdict.error().message();
    ASSERT_TRUE(verdict.value().problem);
    const Problem& problem = *verdict.value().problem;
    EXPECT_EQ(problem.flaw, flaw) << describe(verdict.value());
    EXPECT_EQ(problem.segment, segment_name(segment)) << describe(verdict.value());
    EXPECT_EQ(problem.line, line) << describe(verdict.value());
    EXPECT_EQ(problem.sequence, sequence) << describe(verdict.value());
    lab_.restore();
  }

  /// The record of a line (from 0) of the middle segment.
  int64_t record_of(size_t line) const { return middle_ + int64_t(line); }

  AuditLab lab_;
  std::vector<int64_t> segments_;
  int64_t middle_ = 0;
  int64_t last_ = 0;
  std::vector<std::string> lines_;
};

TEST_F(AuditVerify, EveryByteOfEveryRecordCounts) {
  // Each byte of a segment in turn; of a newline, too.
  std::string text = lab_.text(middle_);
  size_t line = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = char(changed[i] ^ 1);
    lab_.put_text(middle_, changed);
    auto verdict = lab_.verify();
    ASSERT_TRUE(verdict);
    ASSERT_TRUE(verdict.value().problem) << "byte " << i << " is not seen";
    const Problem& problem = *verdict.value().problem;
    // Without the last newline the segment has no end.
    EXPECT_EQ(problem.flaw, i + 1 == text.size() ? Flaw::truncated : Flaw::changed)
        << i << " " << text[i] << ": " << describe(verdict.value());
    ASSERT_EQ(problem.line, int64_t(line + 1))
        << i << " " << text[i] << ": " << describe(verdict.value());
    EXPECT_EQ(problem.sequence, record_of(line)) << describe(verdict.value());
    if (text[i] == '\n') ++line;
  }
  EXPECT_EQ(line, lines_.size());
}

TEST_F(AuditVerify, LinksInPlaceOfSegmentsAreNotFollowed) {
  std::string path = segment_path(lab_.directory(), middle_);
  std::filesystem::rename(path, path + ".away");
  std::filesystem::create_symlink(path + ".away", path);
  EXPECT_FALSE(lab_.verify());
  lab_.restore();
}

TEST_F(AuditVerify, EveryByteOfTheFirstAndLastSegment) {
  for (int64_t segment : {segments_.front(), segments_.back()}) {
    std::string text = lab_.text(segment);
    int64_t line = 1;
    for (size_t i = 0; i < text.size(); ++i) {
      std::string changed = text;
      changed[i] = char(changed[i] ^ 2);
      lab_.put_text(segment, changed);
      auto verdict = lab_.verify();
      ASSERT_TRUE(verdict);
      ASSERT_TRUE(verdict.value().problem) << "byte " << i << " is not seen";
      ASSERT_EQ(verdict.value().problem->segment, segment_name(segment));
      ASSERT_EQ(verdict.value().problem->line, line) << i << ": " << describe(verdict.value());
      if (text[i] == '\n') ++line;
    }
    lab_.restore();
  }
}

TEST_F(AuditVerify, EveryByteIsReplacedByOthers) {
  // One of each kind: digits, letters, quotes, controls, a newline, more than ASCII.
  std::string text = lab_.text(middle_);
  size_t begin = text.find("\n") + 1;
  size_t end = text.find("\n", begin);
  for (size_t i = begin; i < end; i += 3) {
    for (char with : {'0', 'x', '"', '}', '\n', '\0', '\x1f', '\xff', ' '}) {
      if (text[i] == with) continue;
      std::string changed = text;
      changed[i] = with;
      lab_.put_text(middle_, changed);
      auto verdict = lab_.verify();
      ASSERT_TRUE(verdict);
      ASSERT_TRUE(verdict.value().problem) << i << " " << int(with);
      EXPECT_EQ(verdict.value().problem->flaw, Flaw::changed);
      ASSERT_EQ(verdict.value().problem->line, 2)
          << i << " " << int(with) << describe(verdict.value());
    }
  }
}

TEST_F(AuditVerify, EachRecordThatIsMissing) {
  for (size_t i = 0; i < lines_.size(); ++i) {
    auto lines = lines_;
    lines.erase(lines.begin() + std::ptrdiff_t(i));
    lab_.put(middle_, lines);
    bool is_last = i + 1 == lines_.size();
    // The last one's place is where the next segment begins.
    if (i == 0) {
      // A segment that begins otherwise than its name says.
      expect(Flaw::missing, middle_, 1, record_of(0));
    } else {
      expect(Flaw::missing, is_last ? segments_[2] : middle_, is_last ? 1 : int64_t(i + 1),
             record_of(i));
    }
  }
}

TEST_F(AuditVerify, SeveralThatAreMissing) {
  auto lines = lines_;
  lines.erase(lines.begin() + 2, lines.begin() + 5);
  lab_.put(middle_, lines);
  expect(Flaw::missing, middle_, 3, record_of(2));
}

TEST_F(AuditVerify, RecordsInAnotherOrder) {
  auto lines = lines_;
  std::swap(lines[2], lines[3]);
  lab_.put(middle_, lines);
  expect(Flaw::out_of_order, middle_, 3, record_of(3));

  lines = lines_;
  std::rotate(lines.begin() + 1, lines.begin() + 2, lines.begin() + 5);  // one goes further back
  lab_.put(middle_, lines);
  expect(Flaw::out_of_order, middle_, 2, record_of(2));
}

TEST_F(AuditVerify, ARecordThatStandsThereTwice) {
  auto lines = lines_;
  lines.insert(lines.begin() + 3, lines[2]);
  lab_.put(middle_, lines);
  expect(Flaw::out_of_order, middle_, 4, record_of(2));
  // Elsewhere.
  auto later = lab_.lines(segments_[2]);
  later.insert(later.begin() + 2, lines_[1]);
  lab_.put(segments_[2], later);
  expect(Flaw::out_of_order, segments_[2], 3, record_of(1));
}

TEST_F(AuditVerify, ARecordThatWasPutIn) {
  // One that claims the right place, and follows from the one before.
  Link link{record_of(3), hash_line(lines_[2])};
  auto lines = lines_;
  lines.insert(lines.begin() + 3, make_line(link, body_of(some_record(666))));
  lab_.put(middle_, lines);
  expect(Flaw::inserted, middle_, 4, record_of(3));

  // Two, of which the second follows from the first.
  Link second{record_of(4), hash_line(lines[3])};
  lines.insert(lines.begin() + 4, make_line(second, body_of(some_record(667))));
  lab_.put(middle_, lines);
  expect(Flaw::inserted, middle_, 4, record_of(3));

  // One that follows from nothing.
  lines = lines_;
  link.previous = no_hash();
  lines.insert(lines.begin() + 3, make_line(link, body_of(some_record(666))));
  lab_.put(middle_, lines);
  expect(Flaw::inserted, middle_, 4, record_of(3));

  // No record at all.
  lines = lines_;
  lines.insert(lines.begin() + 3, "hello");
  lab_.put(middle_, lines);
  expect(Flaw::inserted, middle_, 4, record_of(3));
  lines[3] = "";
  lab_.put(middle_, lines);
  expect(Flaw::inserted, middle_, 4, record_of(3));
}

TEST_F(AuditVerify, ARecordThatWasReplacedAndAllBehindItChainedAnew) {
  // Up to the next head, which only who has the key can make.
  auto lines = lines_;
  Record forged = some_record(666);
  lines[2] = make_line(*parse_link(lines[2]), body_of(forged));
  for (size_t i = 3; i < lines.size(); ++i) {
    auto link = *parse_link(lines[i]);
    size_t behind = lines[i].find("\"time\"");
    link.previous = hash_line(lines[i - 1]);
    lines[i] = make_line(link, lines[i].substr(behind));
  }
  lab_.put(middle_, lines);
  // Those behind this segment do not follow from it.
  expect(Flaw::changed, middle_, int64_t(lines.size()), record_of(lines.size() - 1));

  // And all the rest of the log with it.
  std::string previous = no_hash();
  for (int64_t segment : segments_) {
    auto all = segment == middle_ ? lines : lab_.lines(segment);
    for (auto& line : all) {
      auto link = *parse_link(line);
      if (link.sequence > record_of(2)) {
        line = make_line({link.sequence, previous}, line.substr(line.find("\"time\"")));
      }
      previous = hash_line(line);
    }
    lab_.put(segment, all);
  }
  std::filesystem::remove(head_path(lab_.directory()));
  expect(Flaw::signature, middle_, int64_t(lines.size()), record_of(lines.size() - 1));
}

TEST_F(AuditVerify, AnEndThatWasCutOff) {
  int64_t segment = segments_.back();
  std::string text = lab_.text(segment);
  auto lines = lab_.lines(segment);
  // In a line.
  lab_.put_text(segment, text.substr(0, text.size() - 10));
  expect(Flaw::truncated, segment, int64_t(lines.size()), last_);
  // Only the last newline.
  lab_.put_text(segment, text.substr(0, text.size() - 1));
  expect(Flaw::truncated, segment, int64_t(lines.size()), last_);
  // At a line: head.json knows better.
  lines.pop_back();
  lab_.put(segment, lines);
  expect(Flaw::truncated, segment, int64_t(lines.size() + 1), last_);
  // A whole segment.
  std::filesystem::remove(segment_path(lab_.directory(), segment));
  auto before = segments_[segments_.size() - 2];
  expect(Flaw::truncated, before, int64_t(lab_.lines(before).size() + 1), segment);
}

TEST_F(AuditVerify, AnEndThatWasCutOffTogetherWithItsHead) {
  // Whoever can write head.json puts an older one there: only a head noted elsewhere tells.
  int64_t segment = segments_.back();
  std::string noted = read_file(head_path(lab_.directory())).value();
  noted.pop_back();
  auto cut = [&] {
    std::filesystem::remove(segment_path(lab_.directory(), segment));
    auto before = lab_.lines(segments_[segments_.size() - 2]);
    std::ofstream(head_path(lab_.directory())) << before.back() << "\n";
  };
  cut();
  EXPECT_FALSE(lab_.verify().value().problem);
  Expectation expected;
  expected.head = noted;
  auto before = segments_[segments_.size() - 2];
  int64_t line = int64_t(lab_.lines(before).size() + 1);
  expect(Flaw::truncated, before, line, segment, expected);
  cut();
  Expectation at_least;
  at_least.at_least = last_;
  at_least.hash = hash_line(noted);
  expect(Flaw::truncated, before, line, segment, at_least);
  EXPECT_FALSE(lab_.verify(expected).value().problem);
  EXPECT_FALSE(lab_.verify(at_least).value().problem);
  at_least.hash = no_hash();
  expect(Flaw::changed, segments_.back(), int64_t(lab_.lines(segments_.back()).size()), last_,
         at_least);
}

TEST_F(AuditVerify, ASegmentCutShortInTheMiddle) {
  std::string text = lab_.text(middle_);
  lab_.put_text(middle_, text.substr(0, text.size() - 10));
  expect(Flaw::truncated, middle_, int64_t(lines_.size()), record_of(lines_.size() - 1));
  lab_.put_text(middle_, "");
  expect(Flaw::missing, segments_[2], 1, middle_);
}

TEST_F(AuditVerify, ASegmentThatIsMissing) {
  std::filesystem::remove(segment_path(lab_.directory(), middle_));
  expect(Flaw::missing, segments_[2], 1, middle_);
  std::filesystem::remove(segment_path(lab_.directory(), 1));
  expect(Flaw::missing, middle_, 0, 1);
}

TEST_F(AuditVerify, SegmentsThatWereSwapped) {
  std::string second = lab_.text(middle_);
  std::string third = lab_.text(segments_[2]);
  lab_.put_text(middle_, third);
  lab_.put_text(segments_[2], second);
  expect(Flaw::out_of_order, middle_, 1, segments_[2]);
  // With the first.
  std::string first = lab_.text(1);
  lab_.put_text(1, second);
  lab_.put_text(middle_, first);
  expect(Flaw::out_of_order, 1, 1, middle_);
}

TEST_F(AuditVerify, ASegmentOfAnotherLog) {
  // Of another key.
  AuditLab other;
  auto options = other.options();
  options.segment_bytes = 2000;
  {
    auto log = Log::open(options);
    for (int i = 0; i < 25; ++i) ASSERT_TRUE(other.append(*log.value(), some_record(i)));
  }
  lab_.put_text(middle_, other.text(other.segments()[1]));
  expect(Flaw::foreign, middle_, 1, other.segments()[1]);

  // Of the same key: a log that was sealed off before.
  options.directory = other.folder() + "/second";
  options.key_file = lab_.folder() + "/key";
  {
    auto log = Log::open(options);
    ASSERT_TRUE(log);
    for (int i = 0; i < 25; ++i) ASSERT_TRUE(lab_.append(*log.value(), some_record(i)));
  }
  int64_t second = list_segments(options.directory).value()[1];
  lab_.put_text(middle_, read_file(segment_path(options.directory, second)).value());
  expect(Flaw::foreign, middle_, 1, second);
}

TEST_F(AuditVerify, AnotherKey) {
  AuditLab other;
  { ASSERT_TRUE(Log::open(other.options())); }
  std::filesystem::remove(head_path(lab_.directory()));
  auto verdict = verify_log(lab_.directory(), other.key());
  ASSERT_TRUE(verdict);
  ASSERT_TRUE(verdict.value().problem);
  EXPECT_EQ(verdict.value().problem->flaw, Flaw::foreign);
  EXPECT_EQ(verdict.value().problem->sequence, 1);
  EXPECT_EQ(verdict.value().problem->line, 1);
}

TEST_F(AuditVerify, AHeadFileThatIsForged) {
  std::string head = read_file(head_path(lab_.directory())).value();
  std::string changed = head;
  changed[head.find("\"close\"") + 1] = 'k';
  std::ofstream(head_path(lab_.directory())) << changed;
  auto verdict = lab_.verify();
  ASSERT_TRUE(verdict.value().problem);
  EXPECT_EQ(verdict.value().problem->flaw, Flaw::signature);
  EXPECT_EQ(verdict.value().problem->segment, "head.json");
  Expectation expected;
  expected.head = changed.substr(0, changed.size() - 1);
  EXPECT_EQ(lab_.verify(expected).error().code(), ErrorCode::corrupted);
  expected.head = "nonsense";
  EXPECT_EQ(lab_.verify(expected).error().code(), ErrorCode::invalid_argument);
}

TEST_F(AuditVerify, UpToARecordWhileMoreIsWritten) {
  Expectation expected;
  expected.up_to = record_of(2);
  EXPECT_FALSE(lab_.verify(expected).value().problem) << describe(lab_.verify(expected).value());
  EXPECT_EQ(lab_.verify(expected).value().last_sequence, expected.up_to);
  // Behind it anything may stand, and the head may name what comes only later.
  auto lines = lines_;
  lines[4] = "not written yet";
  lab_.put(middle_, lines);
  EXPECT_FALSE(lab_.verify(expected).value().problem) << describe(lab_.verify(expected).value());
  EXPECT_TRUE(lab_.verify().value().problem);
  // Before it, nothing.
  lines = lines_;
  lines[1][lines[1].find("sandbox")] = 'S';
  lab_.put(middle_, lines);
  EXPECT_TRUE(lab_.verify(expected).value().problem);
  lab_.restore();
  expected.up_to = last_ + 1;
  ASSERT_TRUE(lab_.verify(expected).value().problem);
  EXPECT_EQ(lab_.verify(expected).value().problem->flaw, Flaw::truncated);
  std::atomic<bool> stop = true;
  expected.stop = &stop;
  EXPECT_EQ(lab_.verify(expected).error().code(), ErrorCode::cancelled);
}

TEST_F(AuditVerify, LinksAreNotFollowed) {
  namespace fs = std::filesystem;
  for (const std::string& path : {lab_.directory(), segment_path(lab_.directory(), middle_),
                                  head_path(lab_.directory())}) {
    fs::rename(path, lab_.folder() + "/elsewhere");
    fs::create_symlink(lab_.folder() + "/elsewhere", path);
    auto verdict = lab_.verify();
    ASSERT_FALSE(verdict) << path;
    EXPECT_EQ(verdict.error().code(), ErrorCode::failed_precondition) << path;
    fs::remove(path);
    fs::rename(lab_.folder() + "/elsewhere", path);
    EXPECT_FALSE(lab_.verify().value().problem);
  }
}

TEST_F(AuditVerify, WhatIsNoLog) {
  AuditLab empty;
  std::filesystem::create_directory(empty.directory());
  EXPECT_EQ(verify_log(empty.directory(), lab_.key()).error().code(), ErrorCode::not_found);
  EXPECT_EQ(verify_log("/nonexistent", lab_.key()).error().code(), ErrorCode::not_found);
  empty.put_text(1, "");
  EXPECT_EQ(verify_log(empty.directory(), lab_.key()).value().problem->flaw, Flaw::missing);
  empty.put_text(1, std::string(2 << 20, 'x'));
  EXPECT_TRUE(verify_log(empty.directory(), lab_.key()).value().problem);
  empty.put_text(1, std::string(2 << 20, '\n'));
  EXPECT_TRUE(verify_log(empty.directory(), lab_.key()).value().problem);
}

}  // namespace
}  // namespace hako::audit
