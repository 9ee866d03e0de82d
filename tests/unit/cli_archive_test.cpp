// Trees that are copied into boxes and out of them, as archives.
#include <unistd.h>

#include <random>

#include "base/process.h"
#include "cli/extraction.h"
#include "cli/output.h"
#include "cli/tar.h"
#include "cli/tree_source.h"
#include "support/cli_scratch.h"

namespace hako::cli {
namespace {

struct Recorded : TarSink {
  std::vector<TarEntry> entries;
  std::vector<std::string> contents;
  Result<void> entry(const TarEntry& entry) override {
    entries.push_back(entry);
    contents.emplace_back();
    return ok();
  }
  Result<void> data(std::string_view bytes) override {
    contents.back() += bytes;
    return ok();
  }
  Result<void> end_of_entry() override { return ok(); }
};

std::string archive(const std::vector<std::pair<TarEntry, std::string>>& items) {
  std::string text;
  for (auto [entry, content] : items) {
    entry.size = content.size();
    text += tar_header(entry) + content + tar_padding(content.size());
  }
  return text + tar_trailer();
}

TarEntry file_entry(std::string name, uint32_t mode = 0644) {
  TarEntry entry;
  entry.name = std::move(name);
  entry.mode = mode;
  return entry;
}

TarEntry link_entry(std::string name, std::string target) {
  TarEntry entry;
  entry.kind = TarEntry::Kind::symlink;
  entry.name = std::move(name);
  entry.link = std::move(target);
  return entry;
}

TEST(Tar, RoundTripInPiecesOfAnySize) {
  std::string long_name(300, 'n');
  std::string text = archive({{file_entry("a", 0755), "hello"},
                              {file_entry(long_name), std::string(1024, 'x')},
                              {file_entry("empty"), ""},
                              {link_entry("l", std::string(200, 't')), ""}});
  for (size_t piece : {size_t{1}, size_t{7}, size_t{512}, size_t{100000}}) {
    Recorded seen;
    TarReader reader(seen);
    for (size_t i = 0; i < text.size(); i += piece)
      ASSERT_TRUE(reader.feed(std::string_view(text).substr(i, piece)));
    ASSERT_TRUE(reader.finish());
    ASSERT_EQ(seen.entries.size(), 4u);
    EXPECT_EQ(seen.entries[0].mode, 0755u);
    EXPECT_EQ(seen.contents[0], "hello");
    EXPECT_EQ(seen.entries[1].name, long_name);
    EXPECT_EQ(seen.contents[1], std::string(1024, 'x'));
    EXPECT_EQ(seen.entries[3].kind, TarEntry::Kind::symlink);
    EXPECT_EQ(seen.entries[3].link, std::string(200, 't'));
  }
}

TEST(Tar, CutOrDamagedArchivesAreErrors) {
  std::string text = archive({{file_entry("a"), "hello"}});
  Recorded seen;
  TarReader cut(seen);
  ASSERT_TRUE(cut.feed(std::string_view(text).substr(0, 700)));
  EXPECT_FALSE(cut.finish());
  text[3] ^= 1;
  TarReader damaged(seen);
  EXPECT_FALSE(damaged.feed(text));
}

TEST(Tar, AnythingIsReadWithoutHarm) {
  std::mt19937 random(7);
  std::string good =
      archive({{file_entry(std::string(150, 'q')), std::string(600, 'x')}, {file_entry("b"), "y"}});
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (int i = 0; i < 4; ++i) text[random() % text.size()] = static_cast<char>(random());
    // A right checksum lets the damage through to what lies behind.
    for (size_t block = 0; block + 512 <= text.size(); block += 512) {
      if (text.compare(block + 257, 5, "ustar") != 0) continue;
      unsigned sum = 0;
      for (size_t i = 0; i < 512; ++i)
        sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(text[block + i]);
      char digits[8];
      std::snprintf(digits, sizeof digits, "%06o", sum & 0777777);
      text.replace(block + 148, 7, std::string(digits, 7));
    }
    Recorded seen;
    TarReader reader(seen);
    auto fed = reader.feed(text);
    if (fed) static_cast<void>(reader.finish());
    for (size_t i = 0; i < seen.entries.size(); ++i)
      EXPECT_LE(seen.contents[i].size(), seen.entries[i].size);
  }
}

TEST(Extracting, NamesThatLeadOutAreRefused) {
  for (const char* name : {"/etc/passwd", "../x", "a/../../x", "a/..", "..", ""})
    EXPECT_FALSE(safe_components(name)) << name;
  EXPECT_FALSE(safe_components(std::string(300, 'a')));
  EXPECT_FALSE(safe_components(std::string_view("a\0b", 3)));
  EXPECT_EQ(safe_components("./a//b/.").value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(safe_components(".").value().empty());
  EXPECT_EQ(safe_components("..a").value().size(), 1u);
}

TEST(Extracting, LinksThatMightLeadOutAreNot) {
  EXPECT_TRUE(link_stays_inside(0, "a/b"));
  EXPECT_TRUE(link_stays_inside(2, "../../a"));
  EXPECT_FALSE(link_stays_inside(1, "../../a"));
  EXPECT_FALSE(link_stays_inside(0, "/etc"));
  EXPECT_FALSE(link_stays_inside(0, ""));
  // Through a link inside, this would leave: d/l may be "..".
  EXPECT_FALSE(link_stays_inside(5, "d/l/../.."));
}

class ExtractionTest : public Scratch {
 protected:
  Result<void> extract(const std::string& text, ExtractionLimits limits = {}) {
    fs::create_directories(path_ + "/out");
    Extraction extraction(open("out"), limits);
    TarReader reader(extraction);
    auto fed = reader.feed(text);
    skipped_ = extraction.skipped();
    HAKO_TRYV(std::move(fed));
    HAKO_TRYV(reader.finish());
    return extraction.finish();
  }
  std::vector<std::string> skipped_;
};

TEST_F(ExtractionTest, UnpacksFilesWithTheirModes) {
  TarEntry directory;
  directory.kind = TarEntry::Kind::directory;
  directory.name = "d/";
  directory.mode = 0555;
  ASSERT_TRUE(extract(archive({{directory, ""},
                               {file_entry("d/run", 06755), "#!"},
                               {file_entry("deep/er/x"), "y"},
                               {link_entry("d/up", "../deep"), ""}})));
  struct stat status {};
  ASSERT_EQ(::stat((path_ + "/out/d/run").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07000, 0u) << "setuid came through";
  EXPECT_EQ(status.st_mode & 0700, 0700u);
  ASSERT_EQ(::stat((path_ + "/out/d").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0555u);
  EXPECT_EQ(get("out/deep/er/x"), "y");
  EXPECT_EQ(fs::read_symlink(path_ + "/out/d/up"), "../deep");
  ::chmod((path_ + "/out/d").c_str(), 0755);
}

TEST_F(ExtractionTest, NeverWritesOutside) {
  put("victim", "safe");
  EXPECT_FALSE(extract(archive({{file_entry("../victim"), "bad"}})));
  EXPECT_FALSE(extract(archive({{file_entry(path_ + "/victim"), "bad"}})));
  // A link first, then a file through it.
  EXPECT_TRUE(extract(archive({{link_entry("out", path_), ""}})));
  EXPECT_EQ(skipped_.size(), 1u);
  EXPECT_FALSE(fs::exists(fs::symlink_status(path_ + "/out/out")));
  // The same with a link that was there before.
  fs::create_symlink(path_, path_ + "/out/planted");
  EXPECT_FALSE(extract(archive({{file_entry("planted/victim"), "bad"}})));
  // A file in place of a link to the victim replaces the link, not the victim.
  fs::create_symlink(path_ + "/victim", path_ + "/out/direct");
  EXPECT_TRUE(extract(archive({{file_entry("direct"), "new"}})));
  EXPECT_EQ(get("out/direct"), "new");
  EXPECT_EQ(get("victim"), "safe");
}

TEST_F(ExtractionTest, LinkThenFileThroughItIsRefused) {
  EXPECT_FALSE(extract(
      archive({{file_entry("d/x"), ""}, {link_entry("l", "d"), ""}, {file_entry("l/y"), "bad"}})));
  EXPECT_FALSE(fs::exists(path_ + "/out/d/y"));
}

TEST_F(ExtractionTest, LimitsHold) {
  EXPECT_FALSE(extract(archive({{file_entry("a"), "12345"}}), {.bytes = 4, .entries = 10}));
  EXPECT_FALSE(
      extract(archive({{file_entry("a"), ""}, {file_entry("b"), ""}}), {.bytes = 4, .entries = 1}));
}

TEST_F(ExtractionTest, OddKindsAreLeftOutAndTold) {
  std::string text = archive({{file_entry("fifo"), ""}});
  text[156] = '6';
  // The type is part of the checksum.
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i)
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(text[i]);
  std::snprintf(text.data() + 148, 7, "%06o", sum);
  ASSERT_TRUE(extract(text));
  ASSERT_EQ(skipped_.size(), 1u);
  EXPECT_FALSE(fs::exists(path_ + "/out/fifo"));
}

TEST_F(ExtractionTest, ATreeComesOutAsItWentIn) {
  put("in/a.txt", "hello");
  put("in/sub/run.sh", "#!/bin/sh\n", 0755);
  put("in/sub/" + std::string(200, 'l'), "long");
  put("in/big", std::string(3'000'000, 'b'));
  put("in/empty", "");
  fs::create_symlink("sub/run.sh", path_ + "/in/link");
  ASSERT_EQ(::mkfifo((path_ + "/in/pipe").c_str(), 0600), 0);

  TreeSource tree(open("in"));
  fs::create_directories(path_ + "/out");
  Extraction extraction(open("out"));
  TarReader reader(extraction);
  int status = run_to_end([&]() -> Task<int> {
    std::vector<char> buffer(70001);
    while (true) {
      auto n = co_await tree.read_some(asio::buffer(buffer));
      if (!n || n.value() == 0) co_return n ? 0 : 1;
      if (!reader.feed(std::string_view(buffer.data(), n.value()))) co_return 1;
    }
  });
  ASSERT_EQ(status, 0);
  ASSERT_FALSE(tree.failure());
  ASSERT_TRUE(reader.finish());
  ASSERT_TRUE(extraction.finish());
  EXPECT_EQ(get("out/a.txt"), "hello");
  EXPECT_EQ(get("out/sub/" + std::string(200, 'l')), "long");
  EXPECT_EQ(get("out/big"), get("in/big"));
  EXPECT_EQ(get("out/empty"), "");
  EXPECT_EQ(fs::read_symlink(path_ + "/out/link"), "sub/run.sh");
  EXPECT_TRUE((fs::status(path_ + "/out/sub/run.sh").permissions() & fs::perms::owner_exec) !=
              fs::perms::none);
  EXPECT_EQ(tree.skipped().size(), 1u);
  EXPECT_FALSE(fs::exists(path_ + "/out/pipe"));
}

}  // namespace
}  // namespace hako::cli
