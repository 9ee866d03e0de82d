// Certificates made as they are needed.
#include <gmock/gmock.h>

#include <filesystem>

#include "support/certificates.h"
#include "tls/authority.h"
#include "tls/certificate.h"

namespace hako::tls {
namespace {

using ::testing::ElementsAre;

class AuthorityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hako-authority-XXXXXX";
    folder_ = ::mkdtemp(name);
    made_.emplace(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string text(const std::string& path) const { return read_file(path).value(); }
  Authority load() const {
    return std::move(Authority::load(text(made_->authority()), text(made_->key_file("ca")))).value();
  }

  std::string folder_;
  std::optional<test::Certificates> made_;
};

TEST_F(AuthorityTest, vouches_for_a_name_and_no_other) {
  auto authority = load();
  auto pem = authority.certificate_for("a.example");
  ASSERT_TRUE(pem);
  (void)write_file_atomically(folder_ + "/leaf.pem", pem.value(), 0644);
  auto verify = [&](const std::string& more) {
    return std::system(("openssl verify -x509_strict -purpose sslserver -CAfile " +
                        made_->authority() + " " + more + " " + folder_ +
                        "/leaf.pem >/dev/null 2>&1").c_str());
  };
  EXPECT_EQ(verify("-verify_hostname a.example"), 0);
  EXPECT_NE(verify("-verify_hostname b.example"), 0);
  EXPECT_EQ(authority.certificate_for("a.example").value(), pem.value());
  EXPECT_NE(authority.certificate_for("a.example", WallClock::now() + std::chrono::hours(100)).value(),
            pem.value());
}

TEST_F(AuthorityTest, long_names_have_certificates_and_what_is_no_name_has_none) {
  auto authority = load();
  std::string label(63, 'a');
  EXPECT_TRUE(authority.certificate_for(label + "." + label + "." + label));
  for (const char* wrong : {"", ".", "a..b", ".a", "a.", "A.example", "a,DNS:b", "a b", "*.a", "a\nb"})
    EXPECT_FALSE(authority.certificate_for(wrong)) << wrong;
  EXPECT_FALSE(authority.certificate_for(label + "a.example"));
  EXPECT_FALSE(authority.certificate_for(label + "." + label + "." + label + "." + label));
}

TEST_F(AuthorityTest, keeps_no_more_than_it_may) {
  auto authority = load();
  for (size_t i = 0; i < Authority::kMostKept + 10; ++i)
    ASSERT_TRUE(authority.certificate_for("a" + std::to_string(i) + ".example"));
  EXPECT_EQ(authority.kept(), Authority::kMostKept);
}

TEST_F(AuthorityTest, takes_only_what_is_one) {
  made_->issue("leaf", "DNS:leaf.example");
  std::string ca = text(made_->authority()), key = text(made_->key_file("ca"));
  EXPECT_FALSE(Authority::load(text(made_->certificate("leaf")), text(made_->key_file("leaf"))));
  EXPECT_FALSE(Authority::load(ca, text(made_->key_file("leaf"))));
  EXPECT_FALSE(Authority::load("", key));
  EXPECT_FALSE(Authority::load(ca, ""));
  EXPECT_FALSE(Authority::load(key, ca));
}

}  // namespace
}  // namespace hako::tls
