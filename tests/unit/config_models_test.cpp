// The file that [models] file names.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/models.h"

namespace hako::config {
namespace {

class ModelsFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "hako-models-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  Result<Models> load(const std::string& text) {
    std::ofstream(folder_ + "/models.toml") << text;
    return load_models(folder_ + "/models.toml");
  }
  std::string error_of(const std::string& text) {
    auto loaded = load(text);
    if (loaded) return "(no error)";
    EXPECT_EQ(loaded.error().code(), ErrorCode::invalid_argument);
    return loaded.error().message();
  }
  std::string folder_;
};

TEST_F(ModelsFile, NoFileIsNoModels) {
  auto none = load_models("");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none.value().endpoints.empty());
  EXPECT_EQ(none.value().allow, std::vector<std::string>{"*"});
  EXPECT_EQ(load_models(folder_ + "/none.toml").error().code(), ErrorCode::not_found);
}

TEST_F(ModelsFile, IsReadWhole) {
  auto loaded = load(R"(
allow = ["claude-*", "m"]
extras = ["web_search*"]
context_tokens = 5
max_output_tokens = 6
reservation_minutes = 7

[[endpoint]]
host = "api.anthropic.com"
api = "anthropic"
secret = "key"
label = "confidential"

[[endpoint]]
host = "llm.local"
port = 8443
api = "openai"

[price."claude-*"]
input = 3
cached = 0.30
cache_write = 3.75
cache_write_1h = 6.00
output = 15.00
context = 200000
max_output = 64000

[price.m]
input = 0.000001
output = 2.5
)");
  ASSERT_TRUE(loaded) << loaded.error().message();
  Models expected;
  expected.allow = {"claude-*", "m"};
  expected.extras = {"web_search*"};
  expected.context_tokens = 5, expected.max_output_tokens = 6, expected.reservation_minutes = 7;
  expected.endpoints = {{"api.anthropic.com", 443, "anthropic", "key", policy::Label::confidential},
                        {"llm.local", 8443, "openai", ""}};
  expected.prices = {
      {"claude-*", 3'000'000, 300'000, 3'750'000, 6'000'000, 15'000'000, 200'000, 64'000},
      {"m", 1, 1, 1, 1, 2'500'000, std::nullopt, std::nullopt}};
  EXPECT_EQ(loaded.value(), expected);
  EXPECT_EQ(loaded.value().endpoint("llm.local", 8443)->api, "openai");
  EXPECT_EQ(loaded.value().endpoint("llm.local", 443), nullptr);
}

TEST_F(ModelsFile, SaysWhatIsWrongAndWhere) {
  struct Case {
    const char* text;
    const char* line;
    const char* part;
  };
  const Case cases[] = {
      {"x = \n", ":1", "not TOML"},
      {"\nalow = []\n", ":2", "'alow'"},
      {"allow = \"m\"\n", ":1", "'allow'"},
      {"allow = [\"a b\"]\n", ":1", "'allow'"},
      {"extras = [1]\n", ":1", "'extras'"},
      {"context_tokens = 0\n", ":1", "'context_tokens'"},
      {"endpoint = 1\n", ":1", "'endpoint'"},
      {"[[endpoint]]\napi = \"openai\"\n", ":1", "'host'"},
      {"[[endpoint]]\nhost = \"A.b\"\napi = \"openai\"\n", ":1", "'host'"},
      {"[[endpoint]]\nhost = \"a.b\"\napi = \"other\"\n", ":1", "'api'"},
      {"[[endpoint]]\nhost = \"a.b\"\napi = \"openai\"\nport = 0\n", ":4", "'port'"},
      {"[[endpoint]]\nhost = \"a.b\"\napi = \"openai\"\nkey = \"x\"\n", ":4", "'key'"},
      {"[[endpoint]]\nhost = \"a.b\"\napi = \"openai\"\nsecret = \"s\"\nlabel = \"x\"\n", ":1",
       "'label'"},
      {"[[endpoint]]\nhost = \"a.b\"\napi = \"openai\"\nlabel = \"internal\"\n", ":1", "'label'"},
      {"[[endpoint]]\nhost = \"a\"\napi = \"openai\"\n[[endpoint]]\nhost = \"a\"\napi = \"gemini\"\n",
       ":4", "twice"},
      {"[price.m]\noutput = 1\n", ":1", "'input'"},
      {"[price.m]\ninput = -1\noutput = 1\n", ":2", "'input'"},
      {"[price.m]\ninput = \"1\"\noutput = 1\n", ":2", "'input'"},
      {"[price.m]\ninput = nan\noutput = 1\n", ":2", "'input'"},
      {"[price.\"a b\"]\ninput = 1\noutput = 1\n", ":1", "'a b'"},
      {"[price.m]\ninput = 1\noutput = 1\ncontext = 0\n", ":4", "'context'"},
  };
  for (const Case& one : cases) {
    std::string error = error_of(one.text);
    EXPECT_NE(error.find(std::string("models.toml") + one.line), std::string::npos)
        << one.text << error;
    EXPECT_NE(error.find(one.part), std::string::npos) << one.text << error;
  }
}

}  // namespace
}  // namespace hako::config
