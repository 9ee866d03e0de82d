#include <gtest/gtest.h>

#include "wire/multipart.h"

namespace hako::wire {
namespace {

struct Part {
  std::string name, filename, content;
  bool operator==(const Part&) const = default;
};

/// The parts of `body` fed in pieces of `step` bytes, or "error"/"unfinished" as a part's name.
std::vector<Part> decode(std::string_view body, std::string_view boundary, size_t step) {
  using Kind = MultipartDecoder::Kind;
  MultipartDecoder decoder(boundary);
  std::vector<Part> parts;
  for (;;) {
    auto next = decoder.next();
    if (!next) return {{"error", "", next.error().message()}};
    auto& event = next.value();
    if (event.kind == Kind::need_more) {
      if (body.empty()) return {{"unfinished", "", ""}};
      decoder.feed(body.substr(0, step));
      body.remove_prefix(std::min(step, body.size()));
    } else if (event.kind == Kind::part_begin) {
      parts.push_back({event.name, event.filename.value_or("-"), ""});
    } else if (event.kind == Kind::data) {
      parts.back().content += event.data;
    } else if (event.kind == Kind::end) {
      return parts;
    }
  }
}

constexpr std::string_view kBody =
    "--xyz\r\n"
    "Content-Disposition: form-data; name=\"file\"; filename=\"/home/a b/\xc3\xa9;\\\"q.txt\"\r\n"
    "Content-Type: text/plain\r\n"
    "\r\n"
    "one\r\n--xy\r\n\r\n-- two\r\n"
    "--xyz \r\n"
    "content-disposition: form-data; name=file; filename=plain\r\n"
    "\r\n"
    "\r\n"
    "--xyz--\r\nepilogue";

TEST(Multipart, FindsTheSamePartsHoweverTheyAreSplit) {
  std::vector<Part> expected{{"file", "/home/a b/\xc3\xa9;\"q.txt", "one\r\n--xy\r\n\r\n-- two"},
                             {"file", "plain", ""}};
  for (size_t step = 1; step <= kBody.size(); ++step)
    EXPECT_EQ(decode(kBody, "xyz", step), expected) << "in steps of " << step;
}

TEST(Multipart, SkipsAPreamble) {
  std::string body = "hello\r\n" + std::string(kBody);
  EXPECT_EQ(decode(body, "xyz", 10).size(), 2u);
}

TEST(Multipart, NoticesAnEarlyEnd) {
  for (size_t length = 0; length < kBody.find("--xyz--") + 7; ++length) {
    auto parts = decode(kBody.substr(0, length), "xyz", 7);
    ASSERT_EQ(parts.size(), 1u) << length;
    EXPECT_EQ(parts[0].name, "unfinished") << length;
  }
}

TEST(Multipart, RefusesWhatIsNone) {
  auto is_error = [](std::string_view body) { return decode(body, "xyz", 100)[0].name == "error"; };
  EXPECT_TRUE(is_error("--xyz\r\n\r\nno disposition\r\n--xyz--"));
  EXPECT_TRUE(is_error("--xyzzy\r\n"));
  EXPECT_TRUE(is_error("--xyz\r\nno colon\r\n\r\n"));
  EXPECT_TRUE(is_error("--xyz\r\nA: " + std::string(20'000, 'x')));
  EXPECT_TRUE(is_error(std::string(100'000, 'x')));
}

TEST(Multipart, FindsTheBoundary) {
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(multipart_boundary("Multipart/Form-Data; charset=x; Boundary=\"a b\""), "a b");
  EXPECT_FALSE(multipart_boundary("multipart/form-data"));
  EXPECT_FALSE(multipart_boundary("multipart/mixed; boundary=abc"));
  EXPECT_FALSE(multipart_boundary("multipart/form-data; boundary=" + std::string(300, 'a')));
}

}  // namespace
}  // namespace hako::wire
