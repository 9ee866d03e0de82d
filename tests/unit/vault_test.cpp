// What hangs on the master key: values at rest, placeholders, and each box's authority.
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include "base/encoding.h"
#include "base/random.h"
#include "tls/certificate.h"
#include "vault/box_authority.h"
#include "vault/master_key.h"
#include "vault/placeholder.h"
#include "vault/seal.h"
#include "wire/box_trust.h"

namespace hako::vault {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

const MasterKey kMaster(std::string(32, 'm'));
const MasterKey kOther(std::string(32, 'o'));

// ---- the key ------------------------------------------------------------------------------------

TEST(MasterKey, DerivesAsRfc5869Says) {
  // HKDF-SHA256 without salt over the same info; reckoned with Python's hmac.
  EXPECT_EQ(hex_encode(kMaster.derive("seal", "x", 32)), 
            "23081170050a2d54f721dc010bd1d1682597c5b32365a6ac68c9b86cc901031e");
}

TEST(MasterKey, EachPurposeAndSubjectHasItsOwn) {
  std::set<std::string> all = {kMaster.derive("a", "b", 32), kMaster.derive("ab", "", 32),
                               kMaster.derive("", "ab", 32), kMaster.derive("b", "a", 32),
                               kOther.derive("a", "b", 32)};
  EXPECT_EQ(all.size(), 5u);
  EXPECT_EQ(kMaster.derive("a", "b", 32), kMaster.derive("a", "b", 32));
}

TEST(MasterKey, IsReadInAnyOfItsForms) {
  std::string bytes = random_bytes(32);
  std::string derived = MasterKey(bytes).derive("a", "", 8);
  for (std::string text : {bytes, hex_encode(bytes), hex_encode(bytes) + "\n",
                           base64_encode(bytes) + "\r\n", bytes + "\n"}) {
    auto key = parse_master_key(text);
    ASSERT_TRUE(key) << text;
    EXPECT_EQ(key.value().derive("a", "", 8), derived);
  }
  for (std::string text : {std::string(), std::string(31, 'x'), std::string(33, 'x'),
                           std::string(64, 'g'), base64_encode(random_bytes(31))}) {
    auto key = parse_master_key(text);
    ASSERT_FALSE(key);
    EXPECT_EQ(key.error().code(), ErrorCode::invalid_argument);
    if (!text.empty()) {
      EXPECT_EQ(key.error().message().find(text), std::string::npos);
    }
  }
}

class KeyFile : public testing::Test {
 protected:
  KeyFile() { fs::create_directory(folder_); }
  ~KeyFile() override { fs::remove_all(folder_); }
  std::string write(const std::string& text, mode_t mode) {
    std::string path = folder_ + "/key";
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::string folder_ = (fs::temp_directory_path() / ("hako-vault-" + random_hex(6))).string();
};

TEST_F(KeyFile, MustBeItsOwnersAlone) {
  std::string hex = hex_encode(random_bytes(32));
  EXPECT_TRUE(read_master_key_file(write(hex + "\n", 0600)));
  EXPECT_TRUE(read_master_key_file(write(hex + "\n", 0400)));
  for (mode_t mode : {0640, 0604, 0620, 0644}) {
    auto key = read_master_key_file(write(hex, mode));
    ASSERT_FALSE(key) << mode;
    EXPECT_EQ(key.error().code(), ErrorCode::permission_denied);
    EXPECT_EQ(key.error().message().find(hex), std::string::npos);
  }
  EXPECT_EQ(read_master_key_file(folder_ + "/none").error().code(), ErrorCode::not_found);
  EXPECT_EQ(read_master_key_file(write("short", 0600)).error().code(),
            ErrorCode::invalid_argument);
}

TEST_F(KeyFile, OrACommandPrintsIt) {
  std::string hex = hex_encode(random_bytes(32));
  auto key = run_master_key_command("printf %s " + hex, 10s);
  ASSERT_TRUE(key) << key.error().message();
  EXPECT_EQ(key.value().derive("a", "", 8), parse_master_key(hex).value().derive("a", "", 8));
  EXPECT_TRUE(run_master_key_command("cat " + write(hex, 0600), 10s));
  auto failed = run_master_key_command("printf %s " + hex + "; exit 3", 10s);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message(), "master key command: exit status 3");
  EXPECT_EQ(run_master_key_command("echo no", 10s).error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(run_master_key_command("yes", 10s).error().code(), ErrorCode::failed_precondition);
  auto start = std::chrono::steady_clock::now();
  auto slow = run_master_key_command("sleep 60 & sleep 60", 1s);
  ASSERT_FALSE(slow);
  EXPECT_EQ(slow.error().code(), ErrorCode::timed_out);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 20s);
  ::setenv("HAKO_TEST_LEAK", "visible", 1);
  EXPECT_TRUE(run_master_key_command("test -z \"$HAKO_TEST_LEAK\" && printf %s " + hex, 10s));
}

// ---- at rest ------------------------------------------------------------------------------------

TEST(Seal, ComesBackForItsOwnRecordAndKeyAlone) {
  std::string value = "sk-ant-api03-the-real-one";
  std::string sealed = seal(kMaster, "sec_1", value);
  EXPECT_EQ(unseal(kMaster, "sec_1", sealed).value(), value);
  EXPECT_NE(sealed, seal(kMaster, "sec_1", value)) << "no two are alike";
  EXPECT_EQ(base64_decode(sealed)->find("real"), std::string::npos);
  EXPECT_EQ(unseal(kMaster, "sec_2", sealed).error().code(), ErrorCode::corrupted);
  EXPECT_EQ(unseal(kOther, "sec_1", sealed).error().code(), ErrorCode::failed_precondition);
}

TEST(Seal, AnyChangeIsSeen) {
  std::string bytes = *base64_decode(seal(kMaster, "sec_1", "value-of-a-secret"));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = char(changed[i] ^ 1);
    EXPECT_FALSE(unseal(kMaster, "sec_1", base64_encode(changed))) << i;
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(unseal(kMaster, "sec_1", base64_encode(bytes.substr(0, size)))) << size;
  }
  EXPECT_FALSE(unseal(kMaster, "sec_1", "no base64!"));
}

// ---- placeholders -------------------------------------------------------------------------------

TEST(Placeholder, HasTheShapeOfItsValueAndNothingElseOfIt) {
  std::string value = "sk-ant-api03-" + std::string(60, 'Q') + "_" + std::string(34, 'z');
  Shape shape = shape_of(value);
  EXPECT_EQ(shape.prefix, "sk-ant-api03-");
  std::string text = placeholder(kMaster, "i1", "sec_1", shape);
  EXPECT_EQ(text.size(), value.size());
  EXPECT_TRUE(text.starts_with("sk-ant-api03-"));
  EXPECT_NE(text, value);
  EXPECT_EQ(text, placeholder(kMaster, "i1", "sec_1", shape));
  std::set<std::string> all = {text, placeholder(kMaster, "i2", "sec_1", shape),
                               placeholder(kMaster, "i1", "sec_2", shape),
                               placeholder(kOther, "i1", "sec_1", shape)};
  EXPECT_EQ(all.size(), 4u);
}

TEST(Placeholder, TakesNoPrefixThatIsNotOneOfAKind) {
  EXPECT_EQ(shape_of("correct-horse-battery").prefix, "");
  EXPECT_EQ(shape_of("hunter2-password").prefix, "");
  EXPECT_EQ(shape_of("ghp_abc").prefix, "ghp_");
  EXPECT_EQ(shape_of("github_pat_11ABC").prefix, "github_pat_");
}

TEST(Placeholder, IsNeverShortAndKeepsToItsAlphabet) {
  EXPECT_EQ(shape_of("12345678").length, 20u);
  EXPECT_EQ(shape_of("12345678").alphabet, Shape::Alphabet::hex) << "digits alone are too common";
  EXPECT_EQ(shape_of("deadbeef12345678").alphabet, Shape::Alphabet::hex);
  EXPECT_EQ(shape_of("ABCDEF12345678Z").alphabet, Shape::Alphabet::upper);
  EXPECT_EQ(shape_of(std::string(8192, 'x')).length, 512u);
  EXPECT_EQ(shape_of("ghp_short").length, 24u);
  std::string hex = placeholder(kMaster, "i1", "s", shape_of(std::string(64, 'a')));
  EXPECT_EQ(hex.size(), 64u);
  EXPECT_EQ(hex.find_first_not_of("0123456789abcdef"), std::string::npos) << hex;
}

TEST(Placeholder, ItsShapeIsReadAsItIsWritten) {
  for (std::string value : {"sk-proj-abcdef", "12345678", "AIzaSyABC", "MiXed-with.dots_and"}) {
    Shape shape = shape_of(value);
    EXPECT_EQ(shape_from(to_text(shape)), shape) << value;
  }
  for (std::string text : {"", "1", "1:20", "9:20:", "1:5:", "1:99999:", "x:20:", "1:20:unknown-",
                           "1:20x:", "-1:20:"}) {
    EXPECT_EQ(shape_from(text), std::nullopt) << text;
  }
}

// ---- authorities --------------------------------------------------------------------------------

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Certificate certificate_from(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), int(pem.size()));
  Certificate read(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), X509_free);
  BIO_free(bio);
  return read;
}

Key key_from(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), int(pem.size()));
  Key read(PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr), EVP_PKEY_free);
  BIO_free(bio);
  return read;
}

TEST(BoxAuthority, IsOneWhoseKeyFits) {
  BoxAuthority authority = box_authority(kMaster, "i1");
  auto facts = tls::examine_certificate(authority.certificate, authority.key);
  ASSERT_TRUE(facts) << facts.error().message();
  EXPECT_EQ(facts.value().subject, facts.value().issuer);
  EXPECT_NE(facts.value().subject.find(wire::kAuthorityName), std::string::npos);
  EXPECT_LT(facts.value().begins, WallClock::now() - 24h);
  EXPECT_GT(facts.value().ends, WallClock::now() + 24h * 365);
  auto certificate = certificate_from(authority.certificate);
  ASSERT_TRUE(certificate);
  EXPECT_EQ(X509_check_ca(certificate.get()), 1);
  EXPECT_EQ(X509_get_pathlen(certificate.get()), 0);
  EXPECT_EQ(X509_get_key_usage(certificate.get()), uint32_t(KU_KEY_CERT_SIGN | KU_CRL_SIGN));
  EXPECT_EQ(X509_verify(certificate.get(), X509_get0_pubkey(certificate.get())), 1);
  EXPECT_EQ(EVP_PKEY_get_bits(X509_get0_pubkey(certificate.get())), 256);
}

TEST(BoxAuthority, IsTheSameKeyAfterARestartAndNoOtherBoxs) {
  auto first = certificate_from(box_authority(kMaster, "i1").certificate);
  BoxAuthority again = box_authority(kMaster, "i1");
  // What the gate signs by the one made later is trusted by a guest that has the earlier.
  Key later = key_from(again.key);
  ASSERT_TRUE(first && later);
  EXPECT_EQ(EVP_PKEY_eq(X509_get0_pubkey(first.get()), later.get()), 1);
  auto second = certificate_from(again.certificate);
  EXPECT_EQ(X509_issuer_and_serial_cmp(first.get(), second.get()), 0);
  for (const BoxAuthority& other : {box_authority(kMaster, "i2"), box_authority(kOther, "i1")}) {
    auto theirs = certificate_from(other.certificate);
    EXPECT_NE(EVP_PKEY_eq(X509_get0_pubkey(first.get()), X509_get0_pubkey(theirs.get())), 1);
    EXPECT_EQ(X509_verify(theirs.get(), X509_get0_pubkey(first.get())), 0);
    EXPECT_NE(ASN1_INTEGER_cmp(X509_get0_serialNumber(first.get()),
                               X509_get0_serialNumber(theirs.get())),
              0);
  }
}

TEST(BoxAuthority, LiesWhereOpenSslLooksForIt) {
  auto certificate = certificate_from(box_authority(kMaster, "i1").certificate);
  char name[16];
  std::snprintf(name, sizeof name, "%08lx.0", X509_subject_name_hash(certificate.get()));
  EXPECT_EQ(name, wire::kAuthorityLink);
}

}  // namespace
}  // namespace hako::vault
