#include "tls/certificate.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include "tls/pem.h"

namespace hako::tls {
namespace {

constexpr size_t kMostNames = 64;
constexpr size_t kLongestName = 255;
constexpr size_t kNamesShown = 5;

using Names = Held<GENERAL_NAMES, GENERAL_NAMES_free>;

std::string printable(std::string_view text) {
  std::string out(text.substr(0, kLongestName));
  for (char& c : out)
    if (c < ' ' || c > '~') c = '?';
  return out;
}

std::string one_line(const X509_NAME* name) {
  Memory out(BIO_new(BIO_s_mem()));
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
  HAKO_TRY(auto read, read_certified_key(certificate, key));
  return facts_of(read.certificate.get());
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
