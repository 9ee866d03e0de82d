// Tokens minted here and narrowed elsewhere: by the command line, and by the few lines in Python
// and JavaScript that the documentation shows.
#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <boost/json.hpp>

#include "base/encoding.h"
#include "base/fd.h"
#include "policy/caveat.h"
#include "wire/macaroon.h"

namespace hako {
namespace {

namespace json = boost::json;
using wire::Macaroon;

const std::string kRoot(32, 'k');
const std::string kKey = "e2b_0123456789abcdef0123456789abcdef01234567";

struct Outcome {
  int status = -1;
  std::string output;  ///< without the line end
};

/// `words` hold no quotes. Nothing of the environment is a token but what `given` says.
Outcome run(const std::vector<std::string>& words, const std::string& given = "",
            const std::string& input = "") {
  std::string line = "env -u E2B_API_KEY HAKO_API_KEY='" + given + "'";
  for (const std::string& word : words) line += " '" + word + "'";
  line = "printf %s '" + input + "' | " + line + " 2>&1";
  Outcome outcome;
  FILE* pipe = ::popen(line.c_str(), "r");
  if (!pipe) return outcome;
  char buffer[4096];
  while (size_t got = ::fread(buffer, 1, sizeof buffer, pipe)) outcome.output.append(buffer, got);
  int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
  if (outcome.output.ends_with('\n')) outcome.output.pop_back();
  return outcome;
}

Macaroon minted() {
  Macaroon token = wire::mint(kRoot, "k1.0123456789abcdef").value();
  return wire::narrow(std::move(token), "agent = build").value();
}

Macaroon parsed(const std::string& text) {
  auto token = wire::parse_macaroon(text);
  EXPECT_TRUE(token) << text;
  return token ? std::move(token).value() : Macaroon();
}

const std::vector<std::string>& some_caveats() {
  static const std::vector<std::string> kCaveats = {"label <= internal", "boxes <= 3",
                                                    "expires < 2126-12-01T00:00:00Z"};
  return kCaveats;
}

/// Programs that take a token and caveats, and print a token.
struct Narrower {
  std::string name;
  std::vector<std::string> words;
  bool before_caveats;  ///< each caveat stands behind "--caveat"
};

class Narrowed : public ::testing::TestWithParam<Narrower> {
 protected:
  void SetUp() override {
    std::string find = "command -v " + GetParam().words[0] + " >/dev/null 2>&1";
    if (::system(find.c_str()) != 0) GTEST_SKIP() << "no " << GetParam().words[0] << " here";
  }
  Outcome narrow(const std::string& token, const std::vector<std::string>& caveats) {
    std::vector<std::string> words = GetParam().words;
    words.push_back(token);
    for (const std::string& caveat : caveats) {
      if (GetParam().before_caveats) words.push_back("--caveat");
      words.push_back(caveat);
    }
    return run(words);
  }
};

TEST_P(Narrowed, VerifiesAndLeavesLess) {
  Outcome outcome = narrow(to_string(minted()), some_caveats());
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  Macaroon token = parsed(outcome.output);
  EXPECT_TRUE(verify(token, kRoot));
  EXPECT_EQ(token.identifier, minted().identifier);
  std::vector<std::string> expected = {"agent = build"};
  expected.insert(expected.end(), some_caveats().begin(), some_caveats().end());
  EXPECT_EQ(token.caveats, expected);
  for (const std::string& caveat : token.caveats) EXPECT_TRUE(policy::parse_caveat(caveat));
}

TEST_P(Narrowed, CanBeNarrowedAgain) {
  std::string text = to_string(minted());
  for (const std::string& caveat : some_caveats()) {
    Outcome outcome = narrow(text, {caveat});
    ASSERT_EQ(outcome.status, 0) << outcome.output;
    text = outcome.output;
  }
  EXPECT_EQ(text, narrow(to_string(minted()), some_caveats()).output);
  EXPECT_TRUE(verify(parsed(text), kRoot));
}

TEST_P(Narrowed, ForgedOnesDoNotVerify) {
  Macaroon token = parsed(narrow(to_string(minted()), some_caveats()).output);
  ASSERT_EQ(token.caveats.size(), 4u);
  ASSERT_TRUE(verify(token, kRoot));
  auto forged = [&](auto change) {
    Macaroon copy = token;
    change(copy);
    return verify(parsed(to_string(copy)), kRoot);
  };
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.caveats[0] = "agent = deploy"; }));
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.caveats[3] = "expires < 2127-12-01T00:00:00Z"; }));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(forged([&](Macaroon& copy) {
      copy.caveats.erase(copy.caveats.begin() + long(i));
    })) << i;
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(forged([&](Macaroon& copy) { std::swap(copy.caveats[i], copy.caveats[i + 1]); }))
        << i;
  }
  EXPECT_FALSE(forged([](Macaroon& copy) { copy.identifier = "k2.0123456789abcdef"; }));
  EXPECT_FALSE(verify(token, std::string(32, 'x')));
  // A stranger's token, narrowed in the very same way, is a stranger's.
  Macaroon strangers = wire::mint(std::string(32, 'x'), minted().identifier).value();
  Macaroon other = parsed(narrow(to_string(strangers), some_caveats()).output);
  EXPECT_TRUE(verify(other, std::string(32, 'x')));
  EXPECT_FALSE(verify(other, kRoot));
}

TEST_P(Narrowed, ACaveatOfTwoLinesBecomesNoSecondCaveat) {
  Outcome outcome = narrow(to_string(minted()), {"boxes <= 3\nboxes <= 9"});
  if (outcome.status != 0) return;
  auto token = wire::parse_macaroon(outcome.output);
  EXPECT_FALSE(token && verify(token.value(), kRoot));
}

TEST(Documentation, ShowsTheProgramThatIsTried) {
  auto program = read_file(HAKO_EXAMPLES "/narrow-token.py", 1 << 16);
  auto page = read_file(HAKO_EXAMPLES "/../docs/tokens.md", 1 << 20);
  ASSERT_TRUE(program && page);
  std::string text = program.value();
  size_t begin = text.find("def narrow("), end = text.find("\n\n", begin);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos);
  EXPECT_NE(page.value().find("\n" + text.substr(begin, end - begin) + "\n```"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Programs, Narrowed,
    ::testing::Values(Narrower{"cli", {HAKO_PROGRAM, "token", "narrow"}, true},
                      Narrower{"python", {"python3", HAKO_EXAMPLES "/narrow-token.py"}, false},
                      Narrower{"javascript", {"node", HAKO_EXAMPLES "/narrow-token.mjs"}, false}),
    [](const auto& program) { return program.param.name; });

Outcome hako_token(std::vector<std::string> words, const std::string& given = "",
                   const std::string& input = "") {
  words.insert(words.begin(), {HAKO_PROGRAM, "token"});
  return run(words, given, input);
}

TEST(TokenCommand, OptionsBecomeCaveats) {
  Outcome outcome = hako_token({"narrow",
                                "--agent",
                                "build/worker-1",
                                "--sandbox",
                                "i1",
                                "--sandbox",
                                "i2",
                                "--template",
                                "base",
                                "--actions",
                                "files.read,sandbox.exec",
                                "--label",
                                "internal",
                                "--allow",
                                "a.com:443",
                                "--allow",
                                "*.b.com",
                                "--deny",
                                "c.b.com",
                                "--memory",
                                "512",
                                "--cpu",
                                "2",
                                "--ttl",
                                "1h",
                                "--boxes",
                                "0",
                                "--egress-bytes",
                                "1000",
                                "--expires",
                                "2126-12-01T00:00:00Z",
                                "--caveat",
                                "tenant = acme",
                                to_string(minted())});
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  Macaroon token = parsed(outcome.output);
  EXPECT_TRUE(verify(token, kRoot));
  EXPECT_EQ(token.caveats,
            (std::vector<std::string>{"agent = build", "agent = build/worker-1", "sandbox = i1,i2",
                                      "template = base", "actions = sandbox.exec,files.read",
                                      "label <= internal", "egress = allow a.com:443 *.b.com",
                                      "egress = deny c.b.com", "memory_mb <= 512", "cpus <= 2",
                                      "ttl <= 3600", "boxes <= 0", "egress_bytes <= 1000",
                                      "expires < 2126-12-01T00:00:00.000Z", "tenant = acme"}));
}

TEST(TokenCommand, NoOptionTakesTheTokenForMoreOfItself) {
  std::string text = to_string(minted());
  for (const char* option : {"--sandbox", "--template", "--allow", "--deny"}) {
    Outcome outcome = hako_token({"narrow", option, "a.com", text});
    EXPECT_EQ(outcome.status, 0) << option << outcome.output;
    EXPECT_EQ(parsed(outcome.output).caveats.size(), 2u);
  }
}

TEST(TokenCommand, ASpanOfTimeIsFromNow) {
  Outcome outcome = hako_token({"narrow", "--expires", "1h", to_string(minted())});
  Macaroon token = parsed(outcome.output);
  ASSERT_EQ(token.caveats.size(), 2u);
  auto leaves = policy::parse_caveat(token.caveats[1]);
  ASSERT_TRUE(leaves && leaves.value().expires_ms);
  auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                 std::chrono::system_clock::now().time_since_epoch())
                 .count();
  EXPECT_LE(*leaves.value().expires_ms, now + 3600'000);
  EXPECT_GT(*leaves.value().expires_ms, now);
}

TEST(TokenCommand, TheTokenComesFromTheEnvironmentOrStandardInput) {
  std::string text = to_string(minted());
  std::string expected = hako_token({"narrow", "--boxes", "1", text}).output;
  EXPECT_TRUE(verify(parsed(expected), kRoot));
  EXPECT_EQ(hako_token({"narrow", "--boxes", "1"}, text).output, expected);
  EXPECT_EQ(hako_token({"narrow", "--boxes", "1", "-"}, "", text).output, expected);
  EXPECT_EQ(hako_token({"narrow", "--boxes", "1", "-"}, kKey, " " + text + "\n").output, expected);
}

TEST(TokenCommand, WhatCannotBeNarrowedSaysWhy) {
  std::string text = to_string(minted());
  struct Case {
    std::vector<std::string> words;
    std::string given, message;
  };
  for (const Case& each : {
           Case{{"narrow", "--boxes", "1", kKey}, "", "`hako token mint`"},
           Case{{"narrow", "--boxes", "1"}, kKey, "`hako token mint`"},
           Case{{"narrow", "--boxes", "1"}, "", "no token"},
           Case{{"narrow", "--boxes", "1", "nonsense"}, "", "a token is e2b_"},
           Case{{"narrow", "--boxes", "1", text + "00"}, "", "malformed"},
           Case{{"narrow", text}, "", "say what the new token leaves"},
           Case{{"narrow", "--caveat", "mood = good", text}, "", "nobody here knows"},
           Case{{"narrow", "--agent", "A", text}, "", "agent"},
           Case{{"narrow", "--actions", "all", text}, "", "not an action"},
           Case{{"narrow", "--egress", "none", "--allow", "a.com", text}, "", "--allow"},
           Case{{"narrow", "--allow", "http://a.com", text}, "", "a.com"},
           Case{{"narrow", "--expires", "never", text}, "", "is no time"},
       }) {
    Outcome outcome = hako_token(each.words, each.given);
    EXPECT_EQ(outcome.status, 1) << outcome.output;
    EXPECT_NE(outcome.output.find(each.message), std::string::npos) << outcome.output;
    EXPECT_EQ(outcome.output.find(hex_encode("hako1")), std::string::npos) << outcome.output;
    EXPECT_EQ(outcome.output.find(kKey.substr(4)), std::string::npos) << outcome.output;
  }
}

TEST(TokenCommand, ShowTellsEverythingButTheSignature) {
  Macaroon token = minted();
  std::string text = to_string(token);
  Outcome shown = hako_token({"show", text});
  EXPECT_EQ(shown.status, 0);
  EXPECT_EQ(shown.output, "identifier  k1.0123456789abcdef\ncaveat 1    agent = build");
  Outcome as_json = hako_token({"show", "--json"}, text);
  json::object expected = {{"identifier", token.identifier},
                           {"caveats", json::array{"agent = build"}}};
  EXPECT_EQ(json::parse(as_json.output), expected);
  EXPECT_EQ(as_json.output.find(hex_encode(token.signature)), std::string::npos);
}

TEST(TokenCommand, ShowSaysWhenNothingIsLeft) {
  auto shown = [](std::string_view caveat) {
    Macaroon token = wire::narrow(minted(), caveat).value();
    return hako_token({"show", to_string(token)}).output;
  };
  EXPECT_NE(shown("agent = other").find("leaves nothing: caveat 2 is for agent other"),
            std::string::npos);
  EXPECT_NE(shown("mood = good").find("leaves nothing: caveat 2 is not understood"),
            std::string::npos);
  EXPECT_NE(shown("expires < 2020-01-01T00:00:00Z").find("leaves nothing: it has expired"),
            std::string::npos);
  EXPECT_EQ(shown("agent = build/worker-1").find("nothing"), std::string::npos);
}

}  // namespace
}  // namespace hako
