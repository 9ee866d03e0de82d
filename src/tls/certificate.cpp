#include "tls/certificate.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <memory>

namespace hako::tls {
namespace {

constexpr size_t kMostNames = 64;
constexpr size_t kLongestName = 255;
constexpr size_t kNamesShown = 5;

template <auto release>
struct Release {
  template <class T>
  void operator()(T* held) const {
    release(held);
  }
};
using Bio = std::unique_ptr<BIO, Release<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Release<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Release<EVP_PKEY_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Release<GENERAL_NAMES_free>>;

std::string printable(std::string_view text) {
  std::string out(text.substr(0, kLongestName));
  for (char& c : out)
    if (c < ' ' || c > '~') c = '?';
  return out;
}

std::string one_line(const X509_NAME* name) {
  Bio out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  char* text = nullptr;
  long size = BIO_get_mem_data(out.get(), &text);
  return size > 0 ? printable({text, static_cast<size_t>(size)}) : "nobody";
}

std::string address_text(const ASN1_OCTET_STRING* address) {
  char text[INET6_ADDRSTRLEN] = "";
  int size = ASN1_STRING_length(address);
  if (size == 4 || size == 16)
    ::inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text, sizeof text);
  return text;
}

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> names;
  Names all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; all && i < sk_GENERAL_NAME_num(all.get()) && names.size() < kMostNames; ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type == GEN_DNS) {
      const ASN1_IA5STRING* text = name->d.dNSName;
      names.push_back(printable({reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                 static_cast<size_t>(ASN1_STRING_length(text))}));
    } else if (name->type == GEN_IPADD) {
      names.push_back(address_text(name->d.iPAddress));
    }
  }
  return names;
}

WallTime time_of(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return WallTime();
  // Dates that the clock's type cannot hold are clamped.
  return from_unix_ms(static_cast<int64_t>(::timegm(&parts)) * 1000);
}

/// Without this OpenSSL asks the terminal.
int no_password(char*, int, int, void*) {
  return -1;
}

Error wrong(std::string what) {
  ERR_clear_error();
  return Error(ErrorCode::invalid_argument, std::move(what));
}

}  // namespace

CertificateFacts facts_of(const X509* certificate) {
  CertificateFacts facts;
  facts.names = names_of(certificate);
  facts.subject = one_line(X509_get_subject_name(certificate));
  facts.issuer = one_line(X509_get_issuer_name(certificate));
  facts.begins = time_of(X509_get0_notBefore(certificate));
  facts.ends = time_of(X509_get0_notAfter(certificate));
  return facts;
}

Result<CertificateFacts> examine_certificate(const std::string& certificate,
                                             const std::string& key) {
  Bio text(BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size())));
  Certificate leaf(PEM_read_bio_X509_AUX(text.get(), nullptr, no_password, nullptr));
  if (!leaf) return wrong("there is no PEM certificate in it");
  Bio key_text(BIO_new_mem_buf(key.data(), static_cast<int>(key.size())));
  Key secret(PEM_read_bio_PrivateKey(key_text.get(), nullptr, no_password, nullptr));
  if (!secret) return wrong("the key is no PEM private key, or is locked with a password");
  if (X509_check_private_key(leaf.get(), secret.get()) != 1)
    return wrong("the key is not that of the certificate");
  return facts_of(leaf.get());
}

std::string list_names(const std::vector<std::string>& names) {
  if (names.empty()) return "no host";
  std::string list;
  for (size_t i = 0; i < names.size() && i < kNamesShown; ++i)
    list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNamesShown)
    list += " and " + std::to_string(names.size() - kNamesShown) + " more";
  return list;
}

}  // namespace hako::tls
