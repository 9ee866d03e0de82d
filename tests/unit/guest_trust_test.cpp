// How a guest comes to trust the authority of its own machine: lists of certificates, and Java's.
#include "guest/trust.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "guest/environment.h"
#include "guest/java_trust.h"
#include "vault/box_authority.h"

namespace hako::guest {
namespace {

namespace fs = std::filesystem;

const std::string kFirst = vault::box_authority(vault::MasterKey(std::string(32, 'a')), "i1").certificate;
const std::string kSecond = vault::box_authority(vault::MasterKey(std::string(32, 'b')), "i2").certificate;
const std::string kSystem = "# a comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

std::string with(std::string list, const std::string& certificate) {
  NewEnd end = end_of_list(list, certificate);
  return list.substr(0, end.kept) + end.added;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Trust, OnlyOneCertificateInPemIsOne) {
  EXPECT_TRUE(is_certificate(kFirst));
  EXPECT_FALSE(is_certificate(""));
  EXPECT_FALSE(is_certificate(kFirst + kSecond));
  EXPECT_FALSE(is_certificate("x" + kFirst));
  EXPECT_FALSE(is_certificate(kFirst + "\n; rm -rf /"));
  EXPECT_FALSE(is_certificate(kFirst.substr(0, kFirst.size() - 5)));
  EXPECT_FALSE(is_certificate("-----BEGIN CERTIFICATE-----\n" + std::string(9000, 'A') +
                              "\n-----END CERTIFICATE-----\n"));
}

TEST(Trust, TheMachinesOwnStandsBehindTheSystemsAndIsReplaced) {
  std::string first = with(kSystem, kFirst);
  EXPECT_TRUE(first.starts_with(kSystem));
  EXPECT_EQ(count(first, kFirst), 1u);
  EXPECT_EQ(with(first, kFirst), first) << "as often as it is told";
  std::string second = with(first, kSecond);
  EXPECT_TRUE(second.starts_with(kSystem));
  EXPECT_EQ(count(second, kFirst), 0u) << "that of the machine it was copied from";
  EXPECT_EQ(count(second, kSecond), 1u);
  std::string extended = with(with(kSystem, kFirst) + kSystem, kSecond);
  EXPECT_EQ(count(extended, "AAAA"), 2u) << "what somebody has added behind it stays";
  EXPECT_EQ(count(extended, kFirst), 0u);
  EXPECT_EQ(count(with("", kFirst), kFirst), 1u);
}

TEST(Trust, ProgramsAreToldOnlyWhereThereIsOne) {
  Identity identity(false);
  User user{"u", 1, 1, "/home/u", "/bin/sh"};
  auto value_of = [&](const std::string& name) {
    for (const std::string& each : build_environment(user, identity, {}).variables) {
      if (each.starts_with(name + "=")) return each.substr(name.size() + 1);
    }
    return std::string();
  };
  ASSERT_TRUE(identity.apply({{"generation", 1}}));
  EXPECT_EQ(value_of("NODE_EXTRA_CA_CERTS"), "");
  EXPECT_FALSE(identity.apply({{"generation", 2}, {"caCertificate", "no certificate"}}));
  ASSERT_TRUE(identity.apply({{"generation", 2}, {"caCertificate", kFirst}}));
  EXPECT_EQ(value_of("NODE_EXTRA_CA_CERTS"), kAuthorityFile);
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"}) {
    EXPECT_NE(value_of(name), "") << name;
  }
  ASSERT_TRUE(identity.apply({{"generation", 3}}));
  EXPECT_EQ(value_of("NODE_EXTRA_CA_CERTS"), kAuthorityFile) << "what is not said stays";
  ASSERT_TRUE(identity.apply({{"generation", 4},
                              {"envVars", boost::json::object{{"SSL_CERT_FILE", "/mine"}}}}));
  EXPECT_EQ(value_of("SSL_CERT_FILE"), "/mine");
}

TEST(JavaTrust, IsAListThatJavaReads) {
  auto list = java_list(kFirst + "some text\n" + kSecond);
  ASSERT_TRUE(list);
  EXPECT_EQ(list.value().substr(0, 12), std::string("\xfe\xed\xfe\xed\0\0\0\2\0\0\0\2", 12));
  EXPECT_FALSE(java_list("-----BEGIN CERTIFICATE-----\nAAAA"));
  EXPECT_FALSE(java_list("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"));
  EXPECT_EQ(java_list("").value().size(), 12u + 20u);
  if (::access("/usr/bin/keytool", X_OK) != 0) GTEST_SKIP() << "no Java here to ask";
  std::string path = (fs::temp_directory_path() / ("hako-java-" + random_hex(6))).string();
  std::ofstream(path, std::ios::binary) << list.value();
  std::string command = "/usr/bin/keytool -list -keystore " + path + " </dev/null 2>&1";
  FILE* output = ::popen(command.c_str(), "r");
  ASSERT_NE(output, nullptr);
  std::string said;
  char buffer[512];
  while (size_t got = std::fread(buffer, 1, sizeof buffer, output)) said.append(buffer, got);
  EXPECT_EQ(::pclose(output), 0) << said;
  EXPECT_NE(said.find("2 entries"), std::string::npos) << said;
  EXPECT_EQ(count(said, "trustedCertEntry"), 2u) << said;
  fs::remove(path);
}

}  // namespace
}  // namespace hako::guest
