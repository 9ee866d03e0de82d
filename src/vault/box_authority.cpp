#include "vault/box_authority.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sodium/utils.h>

#include <stdexcept>

#include "base/held.h"
#include "wire/box_trust.h"

namespace hako::vault {
namespace {

/// What is there always, whatever the box's own clock says. No authority outlives its box by this:
/// without the gate it signs nothing.
constexpr const char* kFrom = "20240101000000Z";
constexpr const char* kUntil = "20491231235959Z";
constexpr int kSerialBytes = 16;
/// More than the order has, so that the remainder favours nothing (FIPS 186-4, B.4.1).
constexpr size_t kScalarBytes = 48;

using Number = Held<BIGNUM, BN_clear_free>;
using PrivateKey = Held<EVP_PKEY, EVP_PKEY_free>;
using AuthorityCertificate = Held<X509, X509_free>;
using Memory = Held<BIO, BIO_free_all>;

/// Only memory can run out in these.
void must(bool holds) {
  if (!holds) throw std::runtime_error("a certificate authority could not be made");
}

const unsigned char* octets(std::string_view text) {
  // SAFETY: bytes as bytes.
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// From 1 to the order of the group less one.
Number scalar_from(std::string bytes, const EC_GROUP* group) {
  Held<BN_CTX, BN_CTX_free> context(BN_CTX_new());
  Number scalar(BN_bin2bn(octets(bytes), int(bytes.size()), nullptr));
  Number most(BN_dup(EC_GROUP_get0_order(group)));
  sodium_memzero(bytes.data(), bytes.size());
  must(context && scalar && most && BN_sub_word(most.get(), 1) == 1);
  must(BN_mod(scalar.get(), scalar.get(), most.get(), context.get()) == 1);
  must(BN_add_word(scalar.get(), 1) == 1);
  return scalar;
}

PrivateKey key_from(std::string bytes) {
  Held<EC_GROUP, EC_GROUP_free> group(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1));
  must(group != nullptr);
  Number scalar = scalar_from(std::move(bytes), group.get());
  Held<EC_POINT, EC_POINT_free> point(EC_POINT_new(group.get()));
  must(point && EC_POINT_mul(group.get(), point.get(), scalar.get(), nullptr, nullptr, nullptr) == 1);
  unsigned char encoded[65];
  must(EC_POINT_point2oct(group.get(), point.get(), POINT_CONVERSION_UNCOMPRESSED, encoded,
                          sizeof encoded, nullptr) == sizeof encoded);
  Held<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free> parts(OSSL_PARAM_BLD_new());
  must(parts != nullptr);
  must(OSSL_PARAM_BLD_push_utf8_string(parts.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1);
  must(OSSL_PARAM_BLD_push_octet_string(parts.get(), OSSL_PKEY_PARAM_PUB_KEY, encoded,
                                        sizeof encoded) == 1);
  must(OSSL_PARAM_BLD_push_BN(parts.get(), OSSL_PKEY_PARAM_PRIV_KEY, scalar.get()) == 1);
  Held<OSSL_PARAM, OSSL_PARAM_free> parameters(OSSL_PARAM_BLD_to_param(parts.get()));
  Held<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  must(parameters && context && EVP_PKEY_fromdata_init(context.get()) == 1);
  EVP_PKEY* made = nullptr;
  must(EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_KEYPAIR, parameters.get()) == 1);
  return PrivateKey(made);
}

void add_name(X509_NAME* name, const char* field, std::string_view text) {
  must(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, octets(text), int(text.size()), -1,
                                  0) == 1);
}

void add_extension(X509* certificate, int which, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  Held<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, which, value));
  must(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

void set_serial(X509* certificate, const std::string& bytes) {
  Number number(BN_bin2bn(octets(bytes), int(bytes.size()), nullptr));
  // Positive, and never zero.
  must(number && BN_clear_bit(number.get(), kSerialBytes * 8 - 1) >= 0);
  must(BN_set_bit(number.get(), kSerialBytes * 8 - 2) == 1);
  must(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr);
}

AuthorityCertificate certificate_of(EVP_PKEY* key, const std::string& serial) {
  AuthorityCertificate certificate(X509_new());
  must(certificate && X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  set_serial(certificate.get(), serial);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  add_name(name, "O", wire::kAuthorityOrganization);
  add_name(name, "CN", wire::kAuthorityName);
  must(X509_set_issuer_name(certificate.get(), name) == 1);
  must(ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate.get()), kFrom) == 1);
  must(ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate.get()), kUntil) == 1);
  must(X509_set_pubkey(certificate.get(), key) == 1);
  add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(certificate.get(), NID_subject_key_identifier, "hash");
  must(X509_sign(certificate.get(), key, EVP_sha256()) > 0);
  return certificate;
}

std::string text_in(const Memory& memory) {
  char* text = nullptr;
  long size = BIO_get_mem_data(memory.get(), &text);
  must(size > 0);
  return std::string(text, size_t(size));
}

}  // namespace

BoxAuthority box_authority(const MasterKey& master, std::string_view box) {
  PrivateKey key = key_from(master.derive("box authority", box, kScalarBytes));
  AuthorityCertificate certificate =
      certificate_of(key.get(), master.derive("box authority serial", box, kSerialBytes));
  BoxAuthority authority;
  Memory public_part(BIO_new(BIO_s_mem())), private_part(BIO_new(BIO_s_secmem()));
  must(public_part && private_part);
  must(PEM_write_bio_X509(public_part.get(), certificate.get()) == 1);
  must(PEM_write_bio_PKCS8PrivateKey(private_part.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                     nullptr) == 1);
  authority.certificate = text_in(public_part);
  authority.key = text_in(private_part);
  return authority;
}

}  // namespace hako::vault
