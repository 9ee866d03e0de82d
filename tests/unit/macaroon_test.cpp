#include "wire/macaroon.h"

#include <gtest/gtest.h>

#include <random>

#include "base/encoding.h"

namespace hako::wire {
namespace {

const std::string kRoot(32, 'k');
const std::string kId = "k1.0123456789abcdef";

Macaroon minted(std::initializer_list<std::string_view> caveats = {}) {
  auto made = mint(kRoot, kId);
  EXPECT_TRUE(made);
  Macaroon token = std::move(made).value();
  for (std::string_view caveat : caveats) {
    auto narrower = narrow(std::move(token), caveat);
    EXPECT_TRUE(narrower);
    token = std::move(narrower).value();
  }
  return token;
}

std::string as_text(std::string_view bytes) {
  return "e2b_" + hex_encode(bytes);
}

TEST(Macaroon, HmacIsThatOfRfc4231) {
  EXPECT_EQ(hex_encode(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex_encode(hmac_sha256(std::string(131, '\xaa'),
                                   "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(Macaroon, TextIsWhatTheFormatSays) {
  Macaroon token = minted({"agent = a"});
  std::string signature = hmac_sha256(hmac_sha256(kRoot, kId), "agent = a");
  EXPECT_EQ(to_string(token), as_text("hako1\n" + kId + "\nagent = a\n" + signature));
  EXPECT_TRUE(verify(token, kRoot));
}

TEST(Macaroon, ComesBackFromItsText) {
  for (const Macaroon& token : {minted(), minted({"a = b"}), minted({"a = b", "a = b", " "})}) {
    std::string text = to_string(token);
    EXPECT_TRUE(looks_like_macaroon(text));
    auto parsed = parse_macaroon(text);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed.value(), token);
    EXPECT_TRUE(verify(parsed.value(), kRoot));
  }
  EXPECT_FALSE(looks_like_macaroon("e2b_" + std::string(40, 'a')));
}

TEST(Macaroon, ASignatureMayHoldAnyByte) {
  Macaroon token = minted({"a = b"});
  token.signature.assign(31, '\n');
  token.signature.push_back('\0');
  auto parsed = parse_macaroon(to_string(token));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value(), token);
}

TEST(Macaroon, WhatIsForgedDoesNotVerify) {
  const Macaroon token = minted({"agent = a", "label <= public", "boxes <= 1"});
  ASSERT_TRUE(verify(token, kRoot));
  EXPECT_FALSE(verify(token, std::string(32, 'x')));
  EXPECT_FALSE(verify(token, kRoot.substr(1)));
  EXPECT_FALSE(verify(token, ""));
  auto forged = [&](auto change) {
    Macaroon copy = token;
    change(copy);
    return verify(copy, kRoot);
  };
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.identifier = "k1.0123456789abcdee"; }));
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.caveats[0] = "agent = b"; }));
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.caveats.pop_back(); }));
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.caveats.erase(copy.caveats.begin()); }));
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.caveats.clear(); }));
  EXPECT_FALSE(forged([](Macaroon& copy) { std::swap(copy.caveats[0], copy.caveats[1]); }));
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.caveats.push_back("boxes <= 1"); }));
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.signature.clear(); }));
  for (size_t i = 0; i < 32; ++i)
    EXPECT_FALSE(forged([&](Macaroon& copy) { copy.signature[i] ^= 1; })) << i;
}

TEST(Macaroon, EveryFlippedBitOfTheTextIsSeen) {
  const std::string text = to_string(minted({"agent = a"}));
  for (size_t i = 0; i < text.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string other = text;
      other[i] = static_cast<char>(other[i] ^ (1 << bit));
      auto parsed = parse_macaroon(other);
      ASSERT_FALSE(parsed && verify(parsed.value(), kRoot)) << i << " " << bit;
    }
  }
  for (size_t length = 0; length < text.size(); ++length) {
    auto parsed = parse_macaroon(text.substr(0, length));
    ASSERT_FALSE(parsed && verify(parsed.value(), kRoot)) << length;
  }
}

TEST(Macaroon, WhatIsMalformedIsNoToken) {
  std::string signature(32, 's');
  EXPECT_TRUE(parse_macaroon(as_text("hako1\nid\n" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako2\nid\n" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako1\n" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako1\n\n" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako1\nid" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako1\nid\n\n" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako1\nid\na\tb\n" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako1\nid\n\xff\n" + signature)));
  EXPECT_FALSE(parse_macaroon(as_text("hako1\nid\na = b" + signature)));
  std::string text = as_text("hako1\nid\n" + signature);
  EXPECT_FALSE(parse_macaroon(text + "0"));
  EXPECT_FALSE(parse_macaroon("E2B_" + text.substr(4)));
  EXPECT_FALSE(parse_macaroon(text.substr(4)));
  text[4 + 9] = 'A';
  EXPECT_FALSE(parse_macaroon(text));
}

TEST(Macaroon, HasLimits) {
  std::string line(kLongestMacaroonLine, 'x');
  EXPECT_TRUE(mint(kRoot, line));
  EXPECT_FALSE(mint(kRoot, line + "x"));
  EXPECT_FALSE(mint(kRoot, ""));
  EXPECT_FALSE(mint(kRoot, "a\nb"));
  EXPECT_FALSE(mint("short", "id"));
  EXPECT_TRUE(narrow(minted(), line));
  EXPECT_FALSE(narrow(minted(), line + "x"));
  EXPECT_FALSE(narrow(minted(), ""));
  EXPECT_FALSE(narrow(minted(), "a\nb"));
  Macaroon many = minted();
  for (size_t i = 0; i < kMostMacaroonCaveats; ++i) many = narrow(many, "boxes <= 1").value();
  EXPECT_TRUE(parse_macaroon(to_string(many)));
  EXPECT_FALSE(narrow(many, "boxes <= 1"));
  many.caveats.push_back("boxes <= 1");
  EXPECT_FALSE(parse_macaroon(to_string(many)));
  // What narrow() makes can be read, and it makes none that is too long for that.
  Macaroon longest = minted();
  size_t added = 0;
  for (auto next = narrow(longest, line); next; next = narrow(longest, line), ++added)
    longest = std::move(next).value();
  EXPECT_EQ(added, 7u);
  EXPECT_TRUE(parse_macaroon(to_string(longest)));
}

TEST(Macaroon, SignaturesNameEachLayer) {
  Macaroon one = minted({"boxes <= 1"}), two = minted({"boxes <= 1", "boxes <= 1"});
  auto first = signatures_of(one, kRoot), second = signatures_of(two, kRoot);
  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(second.size(), 2u);
  EXPECT_EQ(first[0], second[0]);
  EXPECT_NE(second[0], second[1]);
  EXPECT_EQ(second[1], two.signature);
  EXPECT_TRUE(signatures_of(minted(), kRoot).empty());
}

TEST(Macaroon, NoEditOfATokenButNarrowingVerifies) {
  std::mt19937 random(7);
  auto below = [&](size_t n) { return size_t(random() % n); };
  const std::vector<std::string> words = {"a = b", "a = c", "boxes <= 1", "label <= public"};
  for (int i = 0; i < 2000; ++i) {
    Macaroon token = minted();
    for (size_t n = below(4); n > 0; --n) token = narrow(token, words[below(4)]).value();
    Macaroon other = token;
    other.caveats.clear();
    for (size_t n = below(5); n > 0; --n) other.caveats.push_back(words[below(4)]);
    EXPECT_EQ(verify(other, kRoot), other.caveats == token.caveats);
  }
}

}  // namespace
}  // namespace hako::wire
