#include "tls/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

namespace hako::tls {
namespace {

/// Without this OpenSSL asks the terminal.
int no_password(char*, int, int, void*) {
  return -1;
}

Memory memory_of(const std::string& text) {
  return Memory(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

}  // namespace

Error unfit(std::string what) {
  ERR_clear_error();
  return Error(ErrorCode::invalid_argument, std::move(what));
}

Result<CertifiedKey> read_certified_key(const std::string& certificate, const std::string& key) {
  CertifiedKey read;
  Memory text = memory_of(certificate), key_text = memory_of(key);
  read.certificate.reset(PEM_read_bio_X509_AUX(text.get(), nullptr, no_password, nullptr));
  if (!read.certificate) return unfit("there is no PEM certificate in it");
  read.key.reset(PEM_read_bio_PrivateKey(key_text.get(), nullptr, no_password, nullptr));
  if (!read.key) return unfit("the key is no PEM private key, or is locked with a password");
  if (X509_check_private_key(read.certificate.get(), read.key.get()) != 1)
    return unfit("the key is not that of the certificate");
  return read;
}

}  // namespace hako::tls
