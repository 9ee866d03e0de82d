// What is found in, put into and kept out of what passes to hosts with secrets; without I/O.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "base/encoding.h"
#include "base/fd.h"
#include "gate/box_secrets.h"
#include "gate/secret_swap.h"
#include "support/certificates.h"

namespace hako::gate {
namespace {

using ::testing::HasSubstr;

constexpr char kFake[] = "sk-fake-zyxwvutsrq9876543210ZY-fake";
constexpr char kReal[] = "sk-real-0123456789abcdefABCDEF-real";

PlaceholderSet placeholders() {
  return PlaceholderSet::make({{"api", kFake}, {"github", "gh-fake-MNBVCXZLKJHGFDSAPOIU"}}).value();
}

HostSecrets host_with(SecretSwap::Kind kind) {
  HostSecrets host;
  host.host = "web.example";
  SecretSwap swap;
  swap.secret = "api";
  swap.placeholder = kFake;
  swap.value = kReal;
  swap.kind = kind;
  swap.header = "x-api-key";
  host.swaps.push_back(std::move(swap));
  host.values = PatternSet(std::vector<std::string>{kReal});
  host.masks = {kFake};
  return host;
}

std::string random_text(std::mt19937& random, size_t longest) {
  std::string text(random() % longest + 1, 'a');
  for (char& c : text) c = static_cast<char>('a' + random() % 3);
  return text;
}

TEST(PatternSet, finds_what_a_plain_search_finds_in_whatever_pieces) {
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::string> texts;
    for (size_t i = 0, count = random() % 4 + 1; i < count; ++i)
      texts.push_back(random_text(random, 6));
    // Long enough for bytes to be passed over, in every other round; and then some of them are there.
    bool longer = round % 2 == 0;
    if (longer)
      for (auto& text : texts) text += random_text(random, 6) + "aaca";
    PatternSet set(texts);
    std::string bytes = random_text(random, 60);
    if (longer) bytes += texts[0] + random_text(random, 9) + texts.back() + random_text(random, 9);
    std::vector<size_t> found, expected;
    auto position = PatternSet::kStart;
    for (size_t start = 0; start < bytes.size();) {
      std::string_view piece = std::string_view(bytes).substr(start, random() % (longer ? 40 : 7) + 1);
      size_t at = 0;
      while (auto hit = set.next(position, piece, at)) {
        at = hit->end;
        found.push_back(start + hit->end);
        std::string_view read = std::string_view(bytes).substr(0, start + hit->end);
        EXPECT_TRUE(read.ends_with(texts[hit->text]));
        for (const auto& other : texts)
          EXPECT_FALSE(read.ends_with(other) && other.size() > texts[hit->text].size());
      }
      start += piece.size();
      std::string_view read = std::string_view(bytes).substr(0, start);
      size_t open = 0;
      for (const auto& text : texts)
        for (size_t size = 1; size <= text.size(); ++size)
          if (read.ends_with(std::string_view(text).substr(0, size))) open = std::max(open, size);
      EXPECT_EQ(set.open(position), open);
    }
    for (size_t end = 1; end <= bytes.size(); ++end)
      if (std::ranges::any_of(texts, [&](const auto& text) {
            return std::string_view(bytes).substr(0, end).ends_with(text);
          }))
        expected.push_back(end);
    EXPECT_EQ(found, expected);
  }
}

TEST(PatternSet, knows_a_text_in_base64_wherever_it_begins) {
  for (size_t before = 0; before < 7; ++before) {
    for (size_t after = 0; after < 7; ++after) {
      std::string encoded =
          base64_encode(std::string(before, '\xfb') + kFake + std::string(after, '\xff'));
      bool found = std::ranges::any_of(base64_forms(kFake), [&](const auto& form) {
        return encoded.find(form) != encoded.npos;
      });
      EXPECT_TRUE(found) << before << " " << after;
    }
  }
  EXPECT_TRUE(base64_forms("").empty());
}

std::string escaped(std::string_view text, bool percent) {
  std::string all;
  for (char c : text) all += (percent ? "%" : "\\u00") + hex_encode(std::string(1, c));
  return all;
}

TEST(PlaceholderSearch, finds_a_placeholder_however_it_is_written_and_cut) {
  auto set = placeholders();
  const std::string written[] = {
      kFake,
      "k=" + escaped(kFake, true),
      "%%2" + escaped(kFake, true) + "%",
      "\\\\" + escaped(kFake, false),
      "\\u00" + escaped(kFake, true),
      "{\"a\":\"\\n" + std::string(kFake) + "\"}",
      base64_encode("xy" + std::string(kFake)),
      std::string(kFake).substr(0, 20) + kFake,
      "100% " + std::string(kFake).substr(0, 9) + escaped(std::string(kFake).substr(9), true),
  };
  for (const auto& text : written) {
    auto whole = set.find_in(text);
    ASSERT_TRUE(whole) << text;
    EXPECT_EQ(*whole, "api");
    for (size_t cut = 1; cut < text.size(); ++cut) {
      PlaceholderSearch search(set);
      auto first = search.feed(std::string_view(text).substr(0, cut));
      auto second = search.feed(std::string_view(text).substr(cut));
      EXPECT_TRUE(first || second) << text << " at " << cut;
    }
  }
  for (const char* other : {"", "sk-fake-", "sk-fake-zyxwvutsrq9876543210ZY-fak", "%", "\\u", "%zz%"})
    EXPECT_FALSE(set.find_in(other)) << other;
}

TEST(PlaceholderSearch, takes_no_set_it_could_not_find_anything_by) {
  EXPECT_FALSE(PlaceholderSet::make({{"short", "1234567"}}));
  EXPECT_FALSE(PlaceholderSet::make(
      std::vector<PlaceholderSet::Placeholder>(PlaceholderSet::kMost + 1, {"a", "12345678"})));
  EXPECT_TRUE(PlaceholderSet::make({}));
  EXPECT_FALSE(PlaceholderSet().find_in(kFake));
}

TEST(BodySearch, reads_only_what_it_knows) {
  for (const char* known : {"", "identity", "gzip", "GZIP", "x-gzip", "deflate"})
    EXPECT_TRUE(BodySearch::can_read(known)) << known;
  for (const char* other : {"br", "zstd", "gzip, gzip", "compress", "gzip;q=1"})
    EXPECT_FALSE(BodySearch::can_read(other)) << other;
}

http::RequestHead request(std::initializer_list<std::pair<const char*, std::string>> fields) {
  http::RequestHead head;
  head.target = "/a";
  for (const auto& [name, value] : fields) head.fields.insert(name, value);
  return head;
}

TEST(PutSecrets, only_where_they_belong) {
  auto set = placeholders();
  auto host = host_with(SecretSwap::Kind::header);
  auto head = request({{"X-Api-Key", kFake}, {"A", "b"}});
  auto outcome = put_secrets(head, host, set);
  EXPECT_FALSE(outcome.refused);
  EXPECT_EQ(outcome.used, std::vector<std::string>{"api"});
  EXPECT_EQ(head.header("X-Api-Key"), kReal);
  EXPECT_EQ(head.header("A"), "b");

  auto bearer = host_with(SecretSwap::Kind::bearer);
  head = request({{"Authorization", "BEARER  " + std::string(kFake)}});
  EXPECT_FALSE(put_secrets(head, bearer, set).refused);
  EXPECT_EQ(head.header("Authorization"), "Bearer " + std::string(kReal));
  head = request({{"X-Api-Key", kFake}});
  auto refused = put_secrets(head, bearer, set).refused;
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->secret, "api");
  EXPECT_THAT(refused->reason, HasSubstr("X-Api-Key"));
  EXPECT_EQ(head.header("X-Api-Key"), kFake);

  auto basic = host_with(SecretSwap::Kind::basic);
  basic.swaps[0].user = "git";
  head = request({{"Authorization", "Basic " + base64_encode("git:" + std::string(kFake))}});
  EXPECT_FALSE(put_secrets(head, basic, set).refused);
  EXPECT_EQ(head.header("Authorization"), "Basic " + base64_encode("git:" + std::string(kReal)));
  head = request({{"Authorization", "Basic " + base64_encode("eve:" + std::string(kFake))}});
  EXPECT_TRUE(put_secrets(head, basic, set).refused);
}

TEST(PutSecrets, a_template_is_all_of_the_value) {
  auto host = host_with(SecretSwap::Kind::header);
  host.swaps[0].before = "Token ";
  host.swaps[0].after = "!";
  auto head = request({{"x-api-key", "Token " + std::string(kFake) + "!"}});
  EXPECT_FALSE(put_secrets(head, host, placeholders()).refused);
  EXPECT_EQ(head.header("x-api-key"), "Token " + std::string(kReal) + "!");
  for (std::string wrong : {std::string(kFake), "Token " + std::string(kFake),
                            "Token " + std::string(kFake) + "!!"}) {
    head = request({{"x-api-key", wrong}});
    EXPECT_TRUE(put_secrets(head, host, placeholders()).refused) << wrong;
  }
}

TEST(PutSecrets, what_all_requests_get_cannot_be_taken_out_or_doubled) {
  auto host = host_with(SecretSwap::Kind::header);
  host.always.push_back({"X-Tenant", "a"});
  auto head = request({{"X-Tenant", "evil"}, {"x-tenant", "worse"},
                       {"Connection", "X-Tenant, Accept-Encoding, close"}, {"Accept-Encoding", "br"}});
  EXPECT_FALSE(put_secrets(head, host, placeholders()).refused);
  EXPECT_EQ(head.fields.count("X-Tenant"), 1u);
  EXPECT_EQ(head.header("X-Tenant"), "a");
  EXPECT_EQ(head.fields.count("Connection"), 0u);
  EXPECT_EQ(head.header("Accept-Encoding"), "identity");
}

TEST(PlaceholderIn, finds_one_anywhere_in_a_head_and_changes_nothing) {
  auto set = placeholders();
  EXPECT_FALSE(placeholder_in(request({{"X-Api-Key", kReal}, {"Cookie", "a=b"}}), set));
  auto in_url = request({});
  in_url.target = "/a?key=" + std::string(kFake);
  std::string basic = "Basic " + base64_encode("git:" + std::string(kFake));
  for (const auto& head : {in_url, request({{"A", "b"}, {"Cookie", "k=" + std::string(kFake)}}),
                           request({{kFake, "b"}}), request({{"Authorization", basic}})}) {
    const std::string* secret = placeholder_in(head, set);
    ASSERT_TRUE(secret);
    EXPECT_EQ(*secret, "api");
  }
}

TEST(AnswerMask, masks_a_value_however_it_is_cut) {
  auto host = host_with(SecretSwap::Kind::header);
  std::string text = "a " + std::string(kReal) + kReal + " sk-real-0123 " + kReal + "sk-rea";
  std::string masked = "a " + std::string(kFake) + kFake + " sk-real-0123 " + kFake + "sk-rea";
  for (size_t size = 1; size <= text.size(); ++size) {
    AnswerMask mask(host);
    std::string passed;
    for (size_t at = 0; at < text.size(); at += size)
      passed += mask.pass(std::string_view(text).substr(at, size));
    passed += mask.pass({});
    EXPECT_EQ(passed.size(), text.size());
    EXPECT_EQ(passed.find(std::string(kReal).substr(5)), passed.npos) << size;
    EXPECT_EQ(mask.masked(), 3u);
    // Of a value that comes byte by byte its first ones, which all of its kind have, do not wait.
    if (size > 8) {
      EXPECT_EQ(passed.substr(text.size() - 6), masked.substr(text.size() - 6));
    }
    if (size == text.size()) {
      EXPECT_EQ(passed, masked);
    }
  }
}

TEST(AnswerMask, does_not_wait_for_what_cannot_be_a_value) {
  auto host = host_with(SecretSwap::Kind::header);
  AnswerMask mask(host);
  EXPECT_EQ(mask.pass("data: 1\n\n"), "data: 1\n\n");
  EXPECT_EQ(mask.pass("ends so: s"), "ends so: s");
  EXPECT_EQ(mask.pass(" sk-real-"), " ");
  EXPECT_EQ(mask.pass("no"), "sk-real-no");
  EXPECT_EQ(mask.pass({}), "");
}

TEST(BoxSecrets, are_read_strictly) {
  auto parse = [](const char* text) {
    return parse_box_secrets(boost::json::parse(text).as_object());
  };
  EXPECT_FALSE(parse("{}"));
  EXPECT_FALSE(parse(R"({"ca":{"certificate":"x","key":"y"},"revision":"1"})"));
}

TEST(BoxSecrets, are_those_of_a_port) {
  char folder[] = "/tmp/hako-secrets-XXXXXX";
  ASSERT_TRUE(::mkdtemp(folder));
  test::Certificates made(folder);
  boost::json::object body{{"revision", "1"}};
  body["ca"] = boost::json::object{{"certificate", read_file(made.authority()).value()},
                                   {"key", read_file(made.key_file("ca")).value()}};
  auto parse = [&](const char* hosts) {
    body["hosts"] = boost::json::parse(hosts);
    return parse_box_secrets(body);
  };
  auto secrets = parse(R"([{"host":"a.example","ports":[443,8443],"model":{"api":"anthropic"}},
                           {"host":"a.example","ports":[9443],"model":{"api":"openai"}}])");
  ASSERT_TRUE(secrets) << secrets.error().message();
  for (uint16_t port : {443, 8443})
    EXPECT_EQ(secrets.value()->host("a.example", port)->model, wire::ModelApi::anthropic);
  EXPECT_EQ(secrets.value()->host("a.example", 9443)->model, wire::ModelApi::openai);
  EXPECT_EQ(secrets.value()->host("a.example", 80), nullptr);
  EXPECT_EQ(secrets.value()->host("b.example", 443), nullptr);
  EXPECT_FALSE(parse(R"([{"host":"a.example","ports":[443]},{"host":"a.example","ports":[9,443]}])"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace hako::gate
