#include "config/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/nearest.h"

namespace hako::config {
namespace {

class ConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "hako-config-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    for (const char* name : {"HAKO_STATE_DIR", "HAKO_API_PORT", "HAKO_POOL_SIZE", "HAKO_CONFIG"}) {
      ::unsetenv(name);
    }
    std::filesystem::remove_all(folder_);
  }

  std::string write(const std::string& content) {
    std::string path = folder_ + "/hako.toml";
    std::ofstream(path) << content;
    return path;
  }
  std::string error_of(const std::string& content) {
    auto loaded = load(write(content), true);
    if (loaded) return "(no error)";
    EXPECT_EQ(loaded.error().code(), ErrorCode::invalid_argument);
    return loaded.error().message();
  }

  std::string folder_;
};

TEST_F(ConfigTest, MissingFileIsDefaultsUnlessItMustExist) {
  auto loaded = load(folder_ + "/none.toml", false);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded.value(), Config{});
  auto required = load(folder_ + "/none.toml", true);
  ASSERT_FALSE(required);
  EXPECT_EQ(required.error().code(), ErrorCode::not_found);
}

TEST_F(ConfigTest, UnreadableFileIsAnErrorEvenWhenItNeedNotExist) {
  std::filesystem::create_directory(folder_ + "/hako.toml");
  EXPECT_FALSE(load(folder_ + "/hako.toml", false));
}

TEST_F(ConfigTest, ReadsEveryKind) {
  auto loaded = load(write("[api]\nport = 4000\naddress = \"::1\"\ncertificate = \"/c\"\n"
                           "key = \"/k\"\nallow_plain_beyond_loopback = true\n"
                           "[gate]\nallow_plain_beyond_loopback = true\n"
                           "[engine]\nboot_deadline_ms = 5000\naccel = \"tcg\"\n"
                           "allow_emulated_beyond_loopback = true\n"
                           "[limits]\nttl_seconds = 60\n[users]\napi = 700\n"),
                     true);
  ASSERT_TRUE(loaded) << loaded.error().message();
  Config expected;
  expected.api_port = 4000;
  expected.api_address = "::1";
  expected.api_certificate = "/c";
  expected.api_certificate_key = "/k";
  expected.allow_plain_api_beyond_loopback = true;
  expected.allow_plain_gate_beyond_loopback = true;
  expected.boot_deadline = std::chrono::milliseconds(5000);
  expected.accel = "tcg";
  expected.allow_emulated_beyond_loopback = true;
  expected.max_ttl = std::chrono::seconds(60);
  expected.api_uid = 700;
  EXPECT_EQ(loaded.value(), expected);
}

TEST_F(ConfigTest, WrongTypeNamesFileLineKeyAndWhatWasExpected) {
  std::string path = folder_ + "/hako.toml";
  EXPECT_EQ(error_of("[api]\n\nport = \"3000\"\n"),
            path + ":3: [api] port: expected a whole number from 1 to 65535, found \"3000\"");
  EXPECT_EQ(error_of("[engine]\naccel = \"xen\"\n"),
            path + ":2: [engine] accel: expected \"auto\", \"kvm\" or \"tcg\", found \"xen\"");
  EXPECT_EQ(error_of("[api]\nport = [1]\n"),
            path + ":2: [api] port: expected a whole number from 1 to 65535, found a list");
}

TEST_F(ConfigTest, RangesAreChecked) {
  for (const char* content :
       {"[api]\nport = 0\n", "[api]\nport = 65536\n", "[api]\nport = -1\n",
        "[api]\naddress = \"localhost\"\n", "[paths]\nstate = \"relative\"\n",
        "[paths]\nstate = \"/a/../b\"\n", "[gate]\ndomain = \"UPPER.example\"\n",
        "[gate]\ndomain = \"a..b\"\n", "[gate]\ndomain = \"-a\"\n", "[users]\napi = 0\n",
        "[engine]\nboot_tries = 0\n", "[log]\nlevel = \"loud\"\n", "[pool]\nsize = 1.5\n",
        "[template]\ndefault = \"../x\"\n"}) {
    EXPECT_NE(error_of(content).find("expected"), std::string::npos) << content;
  }
  EXPECT_NE(error_of("[paths]\nrun = \"/" + std::string(90, 'r') + "\"\n").find("88 bytes"),
            std::string::npos);
  EXPECT_TRUE(load(write("[paths]\nrun = \"/" + std::string(87, 'r') + "\"\n"), true));
}

TEST_F(ConfigTest, ListsOfTexts) {
  auto loaded = load(write("[template]\nregistries = [\"docker.io\", \"10.0.0.1:5000\"]\n"
                           "insecure_registries = []\nregistry_hosts = [\"*.cdn.example:81\"]\n"),
                     true);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded.value().registries, (std::vector<std::string>{"docker.io", "10.0.0.1:5000"}));
  EXPECT_EQ(loaded.value().registry_hosts, std::vector<std::string>{"*.cdn.example:81"});
  for (const char* wrong : {"\"docker.io\"", "[1]", "[\"a\", 2]", "[\"https://a\"]", "[\"\"]",
                            "[\"a/b\"]", "[\"*.a\"]", "[\"A.example\"]", "[[\"a\"]]"})
    EXPECT_NE(error_of("[template]\nregistries = " + std::string(wrong) + "\n")
                  .find("expected"),
              std::string::npos)
        << wrong;
}

TEST_F(ConfigTest, UnknownKeysNameTheNearest) {
  EXPECT_NE(error_of("[api]\nprot = 1\n").find("did you mean port?"), std::string::npos);
  EXPECT_NE(error_of("[pol]\nsize = 1\n").find("did you mean [pool]?"), std::string::npos);
  EXPECT_NE(error_of("[api]\ndomain = \"x\"\n").find("did you mean domain in [gate]?"),
            std::string::npos);
  EXPECT_NE(error_of("[log]\nzzz = 1\n").find("known here: level"), std::string::npos);
  EXPECT_NE(error_of("port = 1\n").find("outside of any section"), std::string::npos);
}

TEST_F(ConfigTest, AllProblemsAreSaidAtOnce) {
  std::string message = error_of("[api]\nport = 0\nprot = 1\n[log]\nlevel = 3\n");
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 2);
}

TEST_F(ConfigTest, BrokenTomlNamesTheLine) {
  EXPECT_EQ(error_of("[api]\nport = = 1\n").rfind(folder_ + "/hako.toml:2: not TOML: ", 0), 0u);
}

TEST_F(ConfigTest, SettingsMustFitTogether) {
  EXPECT_NE(error_of("[template]\nmemory_mib = 512\n[limits]\nmemory_mib = 256\n")
                .find("no box could be made"),
            std::string::npos);
  EXPECT_NE(error_of("[gate]\nport = 3000\n").find("must differ"), std::string::npos);
  EXPECT_NE(error_of("[users]\napi = 5\ngate = 5\n").find("different users"), std::string::npos);
  EXPECT_NE(error_of("[users]\napi = 650003\n").find("virtual machines"), std::string::npos);
}

TEST_F(ConfigTest, EnvironmentOverridesTheFile) {
  ::setenv("HAKO_API_PORT", "4100", 1);
  ::setenv("HAKO_STATE_DIR", "/srv/hako", 1);
  auto loaded = load(write("[api]\nport = 4000\n"), true);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded.value().api_port, 4100);
  EXPECT_EQ(loaded.value().database(), "/srv/hako/api/hako.db");
  ::setenv("HAKO_API_PORT", "41oo", 1);
  auto wrong = load(write(""), true);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message(),
            "environment variable HAKO_API_PORT: expected a whole number from 1 to 65535, found "
            "\"41oo\"");
}

TEST_F(ConfigTest, DefaultPathComesFromTheEnvironment) {
  EXPECT_EQ(default_path(), "/etc/hako/hako.toml");
  ::setenv("HAKO_CONFIG", "/x/y.toml", 1);
  EXPECT_EQ(default_path(), "/x/y.toml");
}

/// The packaged file with each "#key = value" line made real.
std::string uncommented(const std::string& path, std::vector<std::string>& found) {
  std::ifstream file(path);
  std::string result, line, section;
  while (std::getline(file, line)) {
    if (line.rfind("[", 0) == 0) section = line.substr(1, line.size() - 2);
    if (line.size() > 1 && line[0] == '#' && line[1] != ' ') {
      line.erase(0, 1);
      found.push_back(section + "." + line.substr(0, line.find(' ')));
    }
    result += line + "\n";
  }
  return result;
}

TEST_F(ConfigTest, PackagedFileShowsEveryKeyWithItsDefault) {
  std::vector<std::string> found;
  std::string content = uncommented(HAKO_SOURCE_DIR "/packaging/hako.toml", found);
  EXPECT_EQ(found, known_keys());
  auto loaded = load(write(content), true);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded.value(), Config{});
  EXPECT_TRUE(load(HAKO_SOURCE_DIR "/packaging/hako.toml", true));
}

TEST_F(ConfigTest, TheDomainMayHaveAPort) {
  auto loaded = load(write("[gate]\ndomain = \"box.example:3002\"\ncertificate = \"/a\"\n"
                           "key = \"/b\"\n"),
                     true);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded.value().api_host(), "api.box.example");
  EXPECT_EQ(Config().api_host(), "") << "without TLS nobody looks for it there";
  for (const char* wrong : {"box.example:", "box.example:0", "box.example:65536", ":80", "a:80:80"})
    EXPECT_NE(error_of("[gate]\ndomain = \"" + std::string(wrong) + "\"\n"), "(no error)") << wrong;
}

TEST_F(ConfigTest, ACertificateNeedsItsKey) {
  EXPECT_NE(error_of("[gate]\nkey = \"/b\"\n").find("belong together"), std::string::npos);
  EXPECT_NE(error_of("[gate]\ncertificate = \"b\"\n").find("absolute path"), std::string::npos);
  EXPECT_NE(error_of("[api]\nkey = \"/b\"\n").find("belong together"), std::string::npos);
}

TEST_F(ConfigTest, WhatBoxesMayReach) {
  auto loaded = load(write("[egress]\nceiling = \"internet\"\nstandard = \"allow\"\n"
                           "allow = [\"Example.com:443\", \"*.example.org\"]\n"
                           "deny = [\"10.0.0.0/8\"]\n"
                           "private_networks = [\"10.1.0.0/16:443\"]\n"
                           "resolvers = [\"192.0.2.53\", \"[2001:db8::53]:5353\"]\n"
                           "connections = 0\nconnects_per_second = 1\nbytes_per_second = 2\n"
                           "bytes_total = 1000000000000\nnames_per_second = 3\n"
                           "[labels]\npublic = \"allow\"\npublic_allow = [\"a.example\"]\n"
                           "secret = \"none\"\nconfidential = \"allow\"\n"
                           "confidential_allow = [\"models.example\"]\n"),
                     true);
  ASSERT_TRUE(loaded) << loaded.error().message();
  auto target = [](const char* text) { return policy::parse_target(text).value(); };
  policy::EgressPlatform expected;
  expected.ceiling = policy::EgressLevel::internet;
  expected.standard = policy::EgressLevel::allow;
  expected.allow = {target("example.com:443"), target("*.example.org")};
  expected.deny = {target("10.0.0.0/8")};
  expected.private_networks = {target("10.1.0.0/16:443")};
  expected.limits = {0, 1, 2, 1'000'000'000'000, 3};
  expected.labels[0] = {policy::EgressLevel::allow, {target("a.example")}};
  expected.labels[2] = {policy::EgressLevel::allow, {target("models.example")}};
  EXPECT_EQ(loaded.value().egress, expected);
  std::vector<Config::Resolver> resolvers = {
      {boost::asio::ip::make_address("192.0.2.53"), 53},
      {boost::asio::ip::make_address("2001:db8::53"), 5353}};
  EXPECT_EQ(loaded.value().resolvers, resolvers);
}

TEST_F(ConfigTest, AWrongEntryOfAListIsNamedWithItsOwnLine) {
  std::string path = folder_ + "/hako.toml";
  EXPECT_EQ(error_of("[egress]\nallow = [\n  \"a.b\",\n  \"http://a.b\",\n]\n"),
            path + ":4: [egress] allow: expected a name (\"example.com\", \"*.example.com\", "
                   "\"*\") or a network (\"192.0.2.0/24\"), with ports (\":443\", \":80-90,443\") "
                   "or without, found \"http://a.b\"");
  EXPECT_EQ(error_of("[egress]\nresolvers = [53]\n"),
            path + ":2: [egress] resolvers: expected an IP address, with ':' and a port where that "
                   "is not 53, found 53");
  EXPECT_EQ(error_of("[egress]\nprivate_networks = \"10.0.0.0/8\"\n"),
            path + ":2: [egress] private_networks: expected a list of texts, each a network "
                   "(\"10.1.0.0/16\"), with ports or without, found \"10.0.0.0/8\"");
  for (const char* content :
       {"resolvers = [\"dns.example\"]", "resolvers = [\"192.0.2.0/24\"]",
        "resolvers = [\"192.0.2.53:53-54\"]", "private_networks = [\"example.com\"]",
        "private_networks = [\"0.0.0.0/0\"]", "private_networks = [\"[::]/0\"]", "deny = [\"\"]",
        "allow = [[\"a.b\"]]", "ceiling = \"all\"", "ceiling = [\"none\"]", "connections = -1",
        "resolvers = [\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\"]"}) {
    EXPECT_NE(error_of("[egress]\n" + std::string(content) + "\n").find("expected"),
              std::string::npos)
        << content;
  }
  std::string many;
  for (int i = 0; i < 129; ++i) many += "\"a.b\",";
  EXPECT_NE(error_of("[labels]\ninternal_allow = [" + many + "]\n").find("at most 128 entries"),
            std::string::npos);
}

TEST_F(ConfigTest, SettingsOfEgressMustDoWhatTheySay) {
  std::string path = folder_ + "/hako.toml";
  EXPECT_EQ(error_of("[egress]\nstandard = \"internet\"\n"),
            path + ":2: [egress] standard (\"internet\") is above ceiling (\"none\")");
  EXPECT_EQ(error_of("[labels]\nconfidential = \"internet\"\n"),
            path + ":2: [labels] confidential (\"internet\") is above internal (\"allow\"): what "
                   "is more confidential cannot reach more");
  EXPECT_EQ(error_of("[labels]\npublic = \"none\"\n"),
            path + ":2: [labels] internal (\"allow\") is above public (\"none\"): what is more "
                   "confidential cannot reach more");
  EXPECT_EQ(error_of("[labels]\nsecret_allow = [\"a.b\"]\n"),
            path + ":2: [labels] secret_allow needs secret (\"none\") to be \"allow\"");
}

TEST(EditDistance, CountsSingleSlips) {
  EXPECT_EQ(edit_distance("port", "port"), 0u);
  EXPECT_EQ(edit_distance("prot", "port"), 1u);
  EXPECT_EQ(edit_distance("por", "port"), 1u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Nearest, OnlyWhatASlipExplains) {
  EXPECT_EQ(nearest("adress", {"port", "address"}), "address");
  EXPECT_EQ(nearest("memory_mb", {"memory_mib", "vcpus"}), "memory_mib");
  EXPECT_EQ(nearest("zebra", {"port", "address"}), std::nullopt);
  EXPECT_EQ(nearest(std::string(1000, 'a'), {"a"}), std::nullopt);
}

}  // namespace
}  // namespace hako::config
