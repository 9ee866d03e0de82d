// What a certificate says about itself.
#pragma once

#include <openssl/x509.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace hako::tls {

struct CertificateFacts {
  std::vector<std::string> names;  ///< hosts it is for: names, patterns and addresses
  std::string subject, issuer;     ///< as one line each
  WallTime begins, ends;
};

/// Reads the first certificate of a PEM text and checks that the private key fits it. Hostile text
/// in it comes out printable and bounded. Errors: invalid_argument, with what is wrong.
Result<CertificateFacts> examine_certificate(const std::string& certificate,
                                             const std::string& key);
/// "a.example, *.b.example and 3 more"
std::string list_names(const std::vector<std::string>& names);

/// The same of a certificate at hand.
CertificateFacts facts_of(const X509* certificate);

}  // namespace hako::tls
