// How files travel: compressed, on conditions, put together.
#include <sys/mount.h>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <filesystem>
#include <fstream>

#include "base/encoding.h"
#include "guest/gzip.h"
#include "integration/guest_daemon.h"

namespace hako::guest {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
constexpr std::pair<const char*, const char*> kBytes{"Content-Type", "application/octet-stream"};
constexpr std::pair<const char*, const char*> kZipped{"Content-Encoding", "gzip"};

std::string compress(std::string_view bytes) {
  Compressor compressor;
  std::string out;
  compressor.add(bytes, true, out);
  return out;
}

std::string decompress(std::string_view bytes) {
  Decompressor decompressor;
  decompressor.feed(bytes);
  std::string out;
  std::vector<char> room(1 << 16);
  for (;;) {
    auto n = decompressor.read(room);
    if (!n) return "error: " + n.error().message();
    out.append(room.data(), n.value());
    if (decompressor.wants_input()) return decompressor.complete() ? out : "error: cut";
  }
}

class GuestTransfer : public GuestDaemonTest {
 protected:
  std::string content(const std::string& name) {
    std::ifstream file(folder_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void make(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  std::string files(const std::string& name) {
    return "/files?path=" + percent_encode(folder_ + "/" + name);
  }
  Reply get(const std::string& name, std::vector<std::pair<std::string, std::string>> headers) {
    return request(http::Verb::get, files(name), {}, std::move(headers));
  }
  std::string noise(size_t size) {
    std::string bytes(size, '\0');
    uint64_t state = 1;
    for (char& c : bytes) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      c = static_cast<char>(state >> 56);
    }
    return bytes;
  }
};

TEST_F(GuestTransfer, CompressesWhereTheClientAllowsIt) {
  std::string text;
  while (text.size() < 3'000'000) text += "line " + std::to_string(text.size()) + "\n";
  make("text", text);
  make("noise", noise(3'000'000));
  make("empty", "");
  for (const char* name : {"text", "noise", "empty"}) {
    auto reply = get(name, {{"Accept-Encoding", "gzip, deflate"}});
    EXPECT_EQ(reply.status, 200u);
    EXPECT_EQ(reply.fields[http::Field::content_encoding], "gzip") << name;
    EXPECT_EQ(reply.fields[http::Field::content_length], "") << name;
    EXPECT_TRUE(decompress(reply.body) == content(name)) << name;
    EXPECT_LT(reply.body.size(), content(name).size() + 4096) << name;
  }
  EXPECT_LT(get("text", {{"Accept-Encoding", "gzip"}}).body.size(), text.size() / 3);
  for (const char* none : {"identity", "deflate, br", "*", "gzip;q=0", "gzip;q=0.1, identity"}) {
    auto reply = get("text", {{"Accept-Encoding", none}});
    EXPECT_EQ(reply.fields[http::Field::content_encoding], "") << none;
    EXPECT_TRUE(reply.body == text) << none;
  }
  auto none = get("text", {{"Accept-Encoding", "br, identity;q=0"}});
  EXPECT_EQ(none.status, 406u);
  EXPECT_NE(none.body.find("\"code\":406"), std::string::npos);
  EXPECT_EQ(
      get("text", {{"Accept-Encoding", "identity;q=0, *"}}).fields[http::Field::content_encoding],
      "gzip");
  auto length_unknown =
      request(http::Verb::get, "/files?path=/proc/self/status", {}, {{"Accept-Encoding", "gzip"}});
  EXPECT_NE(decompress(length_unknown.body).find("Name:"), std::string::npos);
}

TEST_F(GuestTransfer, AnswersPartsAndConditionsPlainly) {
  make("file", "0123456789");
  auto plain = get("file", {});
  std::string tag(plain.fields[http::Field::etag]);
  std::string modified(plain.fields[http::Field::last_modified]);
  ASSERT_TRUE(tag.starts_with("\""));
  auto part = get("file", {{"Range", "bytes=2-4"}, {"Accept-Encoding", "gzip"}});
  EXPECT_EQ(part.status, 206u);
  EXPECT_EQ(part.body, "234");
  EXPECT_EQ(part.fields[http::Field::content_encoding], "");
  EXPECT_EQ(get("file", {{"If-None-Match", tag}}).status, 304u);
  EXPECT_EQ(get("file", {{"If-None-Match", "\"x\", W/" + tag}}).status, 304u);
  EXPECT_EQ(get("file", {{"If-None-Match", "\"x\""}}).body, "0123456789");
  EXPECT_EQ(get("file", {{"If-Modified-Since", modified}}).status, 304u);
  EXPECT_EQ(get("file", {{"If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"}}).status, 200u);
  EXPECT_EQ(get("file", {{"If-Modified-Since", "yesterday"}}).status, 200u);
  EXPECT_EQ(get("file", {{"If-Match", "\"x\""}}).status, 412u);
  EXPECT_EQ(get("file", {{"If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"}}).status, 412u);
  EXPECT_EQ(get("file", {{"Range", "bytes=2-4"}, {"If-Range", tag}}).status, 206u);
  EXPECT_EQ(get("file", {{"Range", "bytes=2-4"}, {"If-Range", "\"x\""}}).status, 200u);
  fs::last_write_time(folder_ + "/file", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(get("file", {{"If-None-Match", tag}}).status, 200u);
}

TEST_F(GuestTransfer, TakesCompressedUploads) {
  std::string bytes = noise(2'000'000) + std::string(2'000'000, 'x');
  auto stored = request(http::Verb::post, files("plain"), compress(bytes), {kBytes, kZipped});
  ASSERT_EQ(stored.status, 200u) << stored.body;
  EXPECT_TRUE(content("plain") == bytes);
  // Two behind each other are one.
  request(http::Verb::post, files("twice"), compress("one ") + compress("two"), {kBytes, kZipped});
  EXPECT_EQ(content("twice"), "one two");
  std::string form =
      "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nin a form"
      "\r\n--B--\r\n";
  auto part = request(http::Verb::post, files("form"), compress(form),
                      {{"Content-Type", "multipart/form-data; boundary=B"}, kZipped});
  EXPECT_EQ(part.status, 200u) << part.body;
  EXPECT_EQ(content("form"), "in a form");
}

TEST_F(GuestTransfer, RefusesDamagedUploads) {
  std::string whole = compress(noise(500'000));
  std::string flipped = whole;
  flipped[flipped.size() - 6] ^= 1;  // of the checksum
  for (const std::string& wrong :
       {std::string("no gzip"), std::string(), whole.substr(0, whole.size() / 2),
        whole.substr(0, whole.size() - 1), flipped, whole + "rest"}) {
    auto reply = request(http::Verb::post, files("file"), wrong, {kBytes, kZipped});
    EXPECT_EQ(reply.status, 400u) << wrong.size() << reply.body;
    EXPECT_FALSE(fs::exists(folder_ + "/file"));
  }
}

TEST_F(GuestTransfer, IsNotDrownedByWhatExpands) {
  std::string small = folder_ + "/small";
  fs::create_directory(small);
  ASSERT_EQ(::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=8m"), 0);
  Compressor compressor;
  std::string bomb;
  std::string zeros(1 << 20, '\0');
  for (int i = 0; i < 256; ++i) compressor.add(zeros, i == 255, bomb);
  ASSERT_LT(bomb.size(), 4u << 20);
  auto reply = request(http::Verb::post, files("small/bomb"), bomb, {kBytes, kZipped});
  EXPECT_EQ(reply.status, 507u) << reply.body;
  EXPECT_TRUE(fs::is_empty(small));
  EXPECT_EQ(::umount(small.c_str()), 0);
  // The most memory the daemon has ever had, KiB.
  std::ifstream status("/proc/" + std::to_string(daemon_->pid()) + "/status");
  std::string word;
  long peak = 0;
  while (status >> word)
    if (word == "VmHWM:") status >> peak;
  EXPECT_GT(peak, 0);
  EXPECT_LT(peak, 64 << 10);
}

TEST_F(GuestTransfer, KeepsMetadataWithinItsLimits) {
  auto store = [&](std::vector<std::pair<std::string, std::string>> headers) {
    headers.push_back(kBytes);
    return request(http::Verb::post, files("file"), "x", std::move(headers)).status;
  };
  EXPECT_EQ(store({{"X-Metadata-Key", "a value"}}), 200u);
  auto stat = unary("filesystem.Filesystem/Stat", R"({"path":")" + folder_ + "/file\"}");
  EXPECT_EQ(json::parse(stat.body).at("entry").at("metadata").at("key").as_string(), "a value");
  EXPECT_EQ(store({{"X-Metadata-Key", "caf\xc3\xa9"}}), 400u);
  EXPECT_EQ(store({{"X-Metadata-" + std::string(246, 'k'), "v"}}), 200u);
  EXPECT_EQ(store({{"X-Metadata-" + std::string(247, 'k'), "v"}}), 400u);
  EXPECT_EQ(store({{"X-Metadata-A", std::string(3500, 'v')}}), 200u);
  EXPECT_EQ(store({{"X-Metadata-A", std::string(4096 - 9, 'v')}}), 400u);
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < 400; ++i) many.emplace_back("X-Metadata-K" + std::to_string(i), "v");
  EXPECT_EQ(store(many), 400u);
}

TEST_F(GuestTransfer, PutsFilesTogether) {
  make("one", "first ");
  make("two", noise(1'000'000));
  std::string second = content("two");
  auto compose = [&](const json::object& body) {
    return request(http::Verb::post, "/files/compose", json::serialize(body),
                   {{"Content-Type", "application/json"}});
  };
  std::string at = folder_ + "/";
  auto made = compose({{"source_paths", json::array{at + "one", at + "two"}},
                       {"destination", at + "new/all"},
                       {"username", "nobody"}});
  ASSERT_EQ(made.status, 200u) << made.body;
  EXPECT_EQ(json::parse(made.body).at("path").as_string(), at + "new/all");
  EXPECT_TRUE(content("new/all") == "first " + second);
  EXPECT_FALSE(fs::exists(at + "one"));
  EXPECT_FALSE(fs::exists(at + "two"));
  // Into one of its own sources; a missing source changes nothing.
  make("a", "A");
  make("b", "B");
  EXPECT_EQ(compose({{"source_paths", json::array{at + "a", at + "no"}}, {"destination", at + "b"}})
                .status,
            404u);
  EXPECT_EQ(content("b"), "B");
  EXPECT_EQ(compose({{"source_paths", json::array{at + "a", at + "b"}}, {"destination", at + "a"}})
                .status,
            200u);
  EXPECT_EQ(content("a"), "AB");
  EXPECT_FALSE(fs::exists(at + "b"));
  EXPECT_EQ(compose({{"source_paths", json::array{at}}, {"destination", at + "x"}}).status, 400u);
  EXPECT_EQ(compose({{"source_paths", json::array{at + "a"}}, {"destination", folder_}}).status,
            400u);
  EXPECT_EQ(compose({{"source_paths", json::array{}}, {"destination", at + "x"}}).status, 400u);
  EXPECT_EQ(compose({{"source_paths", json::array{1}}, {"destination", at + "x"}}).status, 400u);
  EXPECT_EQ(compose({{"source_paths", json::array{at + "a"}},
                     {"destination", at + "x"},
                     {"username", "stranger"}})
                .status,
            401u);
  for (const auto& entry : fs::directory_iterator(folder_))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".compose")) << entry.path();
}

TEST_F(GuestTransfer, RefusesTricksWithPathsAndHeads) {
  EXPECT_EQ(request(http::Verb::get, "/files?path=/etc/passwd%00.txt").status, 400u);
  EXPECT_EQ(request(http::Verb::get, "/files?path=" + std::string(5000, 'x')).status, 400u);
  EXPECT_EQ(request(http::Verb::post, "/files?path=%7Eroot/x", "x", {kBytes}).status, 400u);
  // Relative paths are taken from the home of the user, and cannot climb above the root.
  auto climbing = request(http::Verb::get, "/files?path=../../../../etc/hostname");
  EXPECT_TRUE(climbing.status == 200 || climbing.status == 404) << climbing.status;
  auto odd = request(http::Verb::post, files("odd") + "%FF", "x", {kBytes});
  EXPECT_EQ(odd.status, 200u);
  EXPECT_NO_THROW(json::parse(odd.body)) << odd.body;
  EXPECT_EQ(request(http::Verb::get, "/health", {}, {{"X-Long", std::string(60'000, 'x')}}).status,
            431u);
}

TEST_F(GuestTransfer, LetsPagesOfOtherOriginsIn) {
  make("file", "x");
  auto read = get("file", {{"Origin", "https://example.org"}});
  EXPECT_EQ(read.fields[http::Field::access_control_allow_origin], "*");
  auto asked =
      request(http::Verb::options, files("file"), {},
              {{"Origin", "https://example.org"}, {"Access-Control-Request-Method", "POST"}});
  EXPECT_EQ(asked.status, 204u);
  EXPECT_EQ(asked.fields[http::Field::access_control_allow_origin], "*");
}

}  // namespace
}  // namespace hako::guest
