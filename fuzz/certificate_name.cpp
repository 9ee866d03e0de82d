// Names for which certificates are made: none is made, or one for exactly that name; and what is read
// as an authority is one or refused.
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <cstdlib>
#include <optional>

#include "tls/authority.h"
#include "tls/certificate.h"

namespace {

using namespace hako;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string written(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

tls::Authority make_authority() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* made = X509_new();
  X509_set_version(made, X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(made), 0);
  X509_gmtime_adj(X509_getm_notAfter(made), 86400);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("fuzz"), -1, -1, 0);
  X509_set_issuer_name(made, X509_get_subject_name(made));
  X509_set_pubkey(made, key);
  X509V3_CTX about;
  X509V3_set_ctx(&about, made, made, nullptr, nullptr, 0);
  for (auto [what, value] : {std::pair(NID_basic_constraints, "critical,CA:TRUE"),
                             std::pair(NID_subject_key_identifier, "hash")}) {
    X509_EXTENSION* extension = X509V3_EXT_nconf_nid(nullptr, &about, what, value);
    X509_add_ext(made, extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509_sign(made, key, EVP_sha256());
  BIO* certificate = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(certificate, made);
  BIO* key_text = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(key_text, key, nullptr, nullptr, 0, nullptr, nullptr);
  X509_free(made);
  EVP_PKEY_free(key);
  std::string first = written(certificate), second = written(key_text);
  return std::move(tls::Authority::load(first, second)).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static tls::Authority authority = make_authority();
  std::string name(reinterpret_cast<const char*>(data), size);
  auto certificate = authority.certificate_for(name);
  require(authority.kept() <= tls::Authority::kMostKept);
  if (certificate) {
    BIO* text = BIO_new_mem_buf(certificate.value().data(), static_cast<int>(certificate.value().size()));
    X509* read = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
    require(read != nullptr);
    auto facts = tls::facts_of(read);
    require(facts.names.size() == 1 && facts.names[0] == name);
    X509_free(read);
    BIO_free(text);
  }
  (void)tls::Authority::load(name, name);
  return 0;
}
