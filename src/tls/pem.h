// Certificates and keys as PEM texts, which may be anybody's.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <string>

#include "base/held.h"
#include "base/result.h"

namespace hako::tls {

using Memory = Held<BIO, BIO_free_all>;
using Certificate = Held<X509, X509_free>;
using PrivateKey = Held<EVP_PKEY, EVP_PKEY_free>;

struct CertifiedKey {
  Certificate certificate;
  PrivateKey key;
};

/// The first certificate of the one text, with the private key that fits it. Asks nobody for a
/// password. invalid_argument, with what is wrong.
Result<CertifiedKey> read_certified_key(const std::string& certificate, const std::string& key);

/// invalid_argument; OpenSSL's own list of errors is emptied, as it would come up elsewhere.
Error unfit(std::string what);

}  // namespace hako::tls
