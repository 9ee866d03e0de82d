#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/random.h"
#include "base/unfinished.h"

namespace hako {
namespace {

TEST(Encoding, HexGoesBothWaysAndRefusesRubbish) {
  std::string bytes("\x00\xff\x10z", 4);
  EXPECT_EQ(hex_encode(bytes), "00ff107a");
  EXPECT_EQ(hex_decode("00FF107a"), bytes);
  EXPECT_EQ(hex_decode(""), "");
  for (const char* bad : {"0", "0g", "zz", "0x"}) EXPECT_FALSE(hex_decode(bad)) << bad;
}

TEST(Encoding, Base64ComesBackForEveryLength) {
  std::string bytes;
  for (int length = 0; length < 70; ++length) {
    auto text = base64_encode(bytes);
    EXPECT_EQ(text.size() % 4, 0u);
    EXPECT_EQ(base64_decode(text), bytes);
    while (!text.empty() && text.back() == '=') text.pop_back();
    EXPECT_EQ(base64_decode(text), bytes) << "unpadded";
    bytes += static_cast<char>(random_bytes(1)[0]);
  }
  EXPECT_EQ(base64_encode("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64_decode("-_-_"), base64_decode("+/+/"));
}

TEST(Encoding, Base64RefusesWhatIsNot) {
  for (const char* bad : {"A", "AAAAA", "AA=A", "Zm9v!", "AB==", "AAB=", "A===", "=",
                          "==", "AA=", "AAAA=", "AAAA==", "AAAA====", "Zm 9v"})
    EXPECT_FALSE(base64_decode(bad)) << bad;
  EXPECT_FALSE(base64_decode("AB")) << "stray bits";
  EXPECT_FALSE(base64_decode("A"));
  EXPECT_FALSE(base64_decode("A\n=="));
}

TEST(Encoding, Percent) {
  EXPECT_EQ(percent_decode("a%2Fb+c", false), "a/b+c");
  EXPECT_EQ(percent_decode("a%2fb+c", true), "a/b c");
  for (const char* bad : {"%", "%4", "%zz", "abc%2"})
    EXPECT_FALSE(percent_decode(bad, false)) << bad;
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(percent_decode(percent_encode(all), true), all);
  EXPECT_EQ(percent_encode("a-b_c.d~/ "), "a-b_c.d~%2F%20");
}

TEST(Clock, Rfc3339ComesBack) {
  for (int64_t ms :
       {int64_t{0}, int64_t{1}, int64_t{1767225600123}, int64_t{-1}, int64_t{-86400001}}) {
    auto text = to_rfc3339(from_unix_ms(ms));
    auto back = from_rfc3339(text);
    ASSERT_TRUE(back) << text;
    EXPECT_EQ(to_unix_ms(*back), ms) << text;
  }
  EXPECT_EQ(to_rfc3339(from_unix_ms(1769860800123)), "2026-01-31T12:00:00.123Z");
}

TEST(Clock, AcceptsOffsetsAndFractions) {
  auto base = from_rfc3339("2026-01-31T12:00:00Z");
  ASSERT_TRUE(base);
  EXPECT_EQ(from_rfc3339("2026-01-31t13:30:00+01:30"), base);
  EXPECT_EQ(from_rfc3339("2026-01-31T10:00:00-02:00"), base);
  auto fine = from_rfc3339("2026-01-31T12:00:00.000000001Z");
  ASSERT_TRUE(fine);
  EXPECT_EQ((*fine - *base).count(), std::chrono::nanoseconds(1).count());
  EXPECT_TRUE(from_rfc3339("2016-12-31T23:59:60Z")) << "a leap second";
  // What is read can be written, and read again.
  EXPECT_TRUE(from_rfc3339("2200-12-31T23:59:59Z"));
  EXPECT_FALSE(from_rfc3339("2200-12-31T23:59:60Z"));
  EXPECT_FALSE(from_rfc3339("2200-12-31T23:59:59-00:01"));
  EXPECT_FALSE(from_rfc3339("1700-01-01T00:00:00+00:01"));
}

TEST(Clock, RefusesWhatIsNoTime) {
  for (const char* bad : {"", "2026", "2026-01-31", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z",
                          "2026-02-30T00:00:00Z", "2026-06-31T00:00:00Z", "2026-00-10T00:00:00Z",
                          "2026-01-31T24:00:00Z", "2026-01-31T12:60:00Z", "2026-01-31T12:00:61Z",
                          "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00.0000000001Z",
                          "2026-01-31T12:00:00+0100", "2026-01-31T12:00:00Zx",
                          "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "+026-01-31T12:00:00Z"})
    EXPECT_FALSE(from_rfc3339(bad)) << bad;
}

TEST(Clock, NumbersFromOutsideAreClamped) {
  EXPECT_GT(from_unix_ms(INT64_MAX), from_unix_ms(1769860800123));
  EXPECT_LT(from_unix_ms(INT64_MIN), from_unix_ms(0));
  EXPECT_EQ(to_unix_ms(from_unix_ms(1769860800123)), 1769860800123);
}

TEST(Errors, NamesComeBackAndUnknownOnesAreInternal) {
  for (auto code : {ErrorCode::invalid_argument, ErrorCode::no_space, ErrorCode::internal,
                    ErrorCode::unavailable, ErrorCode::cancelled})
    EXPECT_EQ(error_code_from(to_string(code)), code);
  EXPECT_EQ(error_code_from("no such thing"), ErrorCode::internal);
}

TEST(Errors, ContextReadsFromTheOutside) {
  auto error = Error::from_errno(ENOENT, "open /x").with_context("load").with_context("start");
  EXPECT_EQ(error.code(), ErrorCode::not_found);
  EXPECT_EQ(error.os_error(), ENOENT);
  EXPECT_EQ(error.message(), "start: load: open /x: No such file or directory");
}

Result<int> half(int number) {
  if (number % 2) return Error(ErrorCode::invalid_argument, "odd");
  return number / 2;
}

Result<int> quarter(int number) {
  HAKO_TRY(auto first, half(number));
  return half(first);
}

TEST(Errors, TryPassesTheErrorUp) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).error().message(), "odd");
  EXPECT_DEATH((void)quarter(6).value(), "");
}

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hako-base-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::string folder;
};

TEST_F(FileTest, ReadsUpToTheLimitOnly) {
  std::string path = folder + "/f";
  ASSERT_TRUE(write_file_atomically(path, std::string(1000, 'x'), 0640));
  EXPECT_EQ(read_file(path, 1000).value().size(), 1000u);
  EXPECT_EQ(read_file(path, 999).error().code(), ErrorCode::too_large);
  auto missing = read_file(folder + "/missing");
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  EXPECT_NE(missing.error().message().find(folder), std::string::npos);
}

TEST_F(FileTest, AtomicWriteReplacesAndLeavesNothingBeside) {
  std::string path = folder + "/f";
  ASSERT_TRUE(write_file_atomically(path, "old", 0600));
  ASSERT_TRUE(write_file_atomically(path, "new", 0644, Durability::process_end));
  EXPECT_EQ(read_file(path).value(), "new");
  struct stat info {};
  ::stat(path.c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
  EXPECT_FALSE(write_file_atomically(folder + "/missing/f", "x", 0600));
  std::filesystem::create_directory(folder + "/directory");
  EXPECT_FALSE(write_file_atomically(folder + "/directory", "x", 0600));
  int entries = 0;
  for ([[maybe_unused]] auto& entry : std::filesystem::directory_iterator(folder)) ++entries;
  EXPECT_EQ(entries, 2) << "a temporary file was left";
}

TEST_F(FileTest, ACloneHasTheSameDataAndHoles) {
  auto source = open_file(folder + "/a", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(source);
  int from = source.value().get();
  ASSERT_EQ(::ftruncate(from, 8 << 20), 0);
  std::string piece(70000, 'p');
  ASSERT_EQ(::pwrite(from, piece.data(), piece.size(), 3 << 20), 70000);
  auto target = open_file(folder + "/b", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(clone_file(from, target.value().get()));
  EXPECT_EQ(read_file(folder + "/a", 9 << 20).value(), read_file(folder + "/b", 9 << 20).value());
  struct stat info {};
  ::fstat(target.value().get(), &info);
  EXPECT_LT(info.st_blocks * 512, 2 << 20) << "holes were filled";
}

TEST_F(FileTest, ReadsAndWritesWholeAtAnOffset) {
  auto file = open_file(folder + "/a", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(file);
  int fd = file.value().get();
  std::string text(100'000, 'x');
  text += "end";
  ASSERT_TRUE(write_all_at(fd, std::as_bytes(std::span(text)), 5));
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 0) << "its own position has moved";
  std::string back(text.size(), '\0');
  ASSERT_TRUE(read_all_at(fd, std::as_writable_bytes(std::span(back)), 5));
  EXPECT_EQ(back, text);
  auto beyond = read_all_at(fd, std::as_writable_bytes(std::span(back)), 6);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code(), ErrorCode::corrupted);
  EXPECT_FALSE(write_all_at(-1, std::as_bytes(std::span(text)), 0));
}

TEST_F(FileTest, DescriptorsHaveOneOwner) {
  auto opened = open_file(folder, O_RDONLY);
  ASSERT_TRUE(opened);
  Fd first = std::move(opened.value());
  int number = first.get();
  EXPECT_TRUE(::fcntl(number, F_GETFD) & FD_CLOEXEC);
  Fd second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_EQ(second.get(), number);
  auto copy = second.duplicate();
  EXPECT_TRUE(::fcntl(copy.value().get(), F_GETFD) & FD_CLOEXEC);
  second = Fd();
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

TEST(Random, DiffersAndHasTheRightShape) {
  EXPECT_NE(random_bytes(16), random_bytes(16));
  EXPECT_EQ(random_hex(8).size(), 16u);
  auto name = random_lower_alphanumeric(1000);
  EXPECT_EQ(name.size(), 1000u);
  EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789"), std::string::npos);
  auto uuid = random_uuid();
  ASSERT_EQ(uuid.size(), 36u);
  EXPECT_EQ(uuid[8], '-');
  EXPECT_EQ(uuid[14], '4');
  EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos);
}

TEST(Log, NoFieldCanForgeALine) {
  testing::internal::CaptureStderr();
  boost::json::object fields;
  fields["text"] = "a\n{\"event\":\"forged\"}";
  fields["long"] = std::string(100000, 'x');
  log_warn("test", fields);
  std::string line = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_LT(line.size(), 4000u);
  auto parsed = boost::json::parse(line);
  EXPECT_EQ(parsed.at("event").as_string(), "test");
  EXPECT_EQ(parsed.at("level").as_string(), "warn");
}

TEST(Unfinished, OnlyWhatWasForThatFileGoes) {
  namespace fs = std::filesystem;
  fs::path folder = fs::temp_directory_path() / ("hako-unfinished-" + random_hex(6));
  fs::create_directory(folder);
  for (const char* name : {"up.json", "up.json.tmp-0123456789ab", "other.json.tmp-0123456789ab"})
    std::ofstream(folder / name) << "{}";
  remove_unfinished(folder / "up.json");
  EXPECT_TRUE(fs::exists(folder / "up.json"));
  EXPECT_FALSE(fs::exists(folder / "up.json.tmp-0123456789ab"));
  EXPECT_TRUE(fs::exists(folder / "other.json.tmp-0123456789ab"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace hako
