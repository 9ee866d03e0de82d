#include "tls/authority.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <map>

#include "tls/layer.h"
#include "tls/pem.h"

namespace hako::tls {
namespace {

using boost::system::error_code;

using OwnedExtension = Held<X509_EXTENSION, X509_EXTENSION_free>;
using OwnedNames = Held<GENERAL_NAMES, GENERAL_NAMES_free>;

constexpr size_t kLongestHost = 253;
constexpr size_t kLongestLabel = 63;
/// The longest common name that X.509 allows.
constexpr size_t kLongestCommonName = 64;
constexpr int kSerialBytes = 16;
constexpr auto kClockDifference = std::chrono::hours(24);

bool is_host(std::string_view name) {
  if (name.empty() || name.size() > kLongestHost) return false;
  size_t label = 0;
  for (char c : name) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (c == '.' ? label == 0 : !plain || label == kLongestLabel) return false;
    label = c == '.' ? 0 : label + 1;
  }
  return label > 0;
}

bool add(X509* certificate, X509V3_CTX& about, int what, const char* value) {
  OwnedExtension extension(X509V3_EXT_nconf_nid(nullptr, &about, what, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

/// Not by way of a text, in which a name could begin another.
bool add_name(X509* certificate, const std::string& name, bool critical) {
  OwnedNames names(GENERAL_NAMES_new());
  GENERAL_NAME* entry = GENERAL_NAME_new();
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  if (!names || !entry || !text ||
      ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) != 1) {
    GENERAL_NAME_free(entry);
    ASN1_IA5STRING_free(text);
    return false;
  }
  GENERAL_NAME_set0_value(entry, GEN_DNS, text);
  if (sk_GENERAL_NAME_push(names.get(), entry) == 0) {
    GENERAL_NAME_free(entry);
    return false;
  }
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), critical ? 1 : 0, 0) ==
         1;
}

bool set_serial(X509* certificate) {
  unsigned char bytes[kSerialBytes];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] &= 0x7f;
  Held<BIGNUM, BN_free> number(BN_bin2bn(bytes, sizeof bytes, nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate));
}

bool set_time(ASN1_TIME* time, WallTime when) {
  return ASN1_TIME_set(time, static_cast<time_t>(to_unix_ms(when) / 1000)) != nullptr;
}

}  // namespace

struct Authority::Impl {
  struct Leaf {
    Certificate certificate;
    Layer::Context context;
    WallTime renew;
    uint64_t used = 0;
  };

  Certificate make(const std::string& name, WallTime now) const {
    Certificate leaf(X509_new());
    X509* made = leaf.get();
    X509V3_CTX about;
    X509V3_set_ctx_nodb(&about);
    X509V3_set_ctx(&about, certificate.get(), made, nullptr, nullptr, 0);
    bool named = name.size() <= kLongestCommonName;
    bool good = made && X509_set_version(made, X509_VERSION_3) == 1 && set_serial(made) &&
                X509_set_issuer_name(made, X509_get_subject_name(certificate.get())) == 1 &&
                set_time(X509_getm_notBefore(made), now - kClockDifference) &&
                set_time(X509_getm_notAfter(made), now + kValidFor) &&
                X509_set_pubkey(made, leaf_key.get()) == 1;
    if (good && named)
      good = X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                                        reinterpret_cast<const unsigned char*>(name.data()),
                                        static_cast<int>(name.size()), -1, 0) == 1;
    good = good && add_name(made, name, !named) &&
           add(made, about, NID_basic_constraints, "critical,CA:FALSE") &&
           add(made, about, NID_key_usage, "critical,digitalSignature") &&
           add(made, about, NID_ext_key_usage, "serverAuth") &&
           add(made, about, NID_subject_key_identifier, "hash") &&
           add(made, about, NID_authority_key_identifier, "keyid") &&
           X509_sign(made, key.get(), EVP_sha256()) > 0;
    if (!good) leaf.reset();
    return leaf;
  }

  void forget_one() {
    auto oldest = std::min_element(leaves.begin(), leaves.end(), [](const auto& a, const auto& b) {
      return a.second.used < b.second.used;
    });
    if (oldest != leaves.end()) leaves.erase(oldest);
  }

  Result<Leaf*> leaf_for(const std::string& name, WallTime now) {
    if (!is_host(name)) return unfit("no name of a host");
    auto found = leaves.find(name);
    if (found == leaves.end() || found->second.renew < now) {
      Leaf leaf;
      leaf.certificate = make(name, now);
      if (!leaf.certificate) return unfit("a certificate for " + name + " cannot be made");
      leaf.context = make_server_context();
      SSL_CTX* context = leaf.context->native_handle();
      if (SSL_CTX_use_certificate(context, leaf.certificate.get()) != 1 ||
          SSL_CTX_use_PrivateKey(context, leaf_key.get()) != 1)
        return unfit("a certificate for " + name + " cannot be used");
      leaf.renew = now + kValidFor / 2;
      if (found == leaves.end() && leaves.size() >= kMostKept) forget_one();
      found = leaves.insert_or_assign(name, std::move(leaf)).first;
    }
    found->second.used = ++uses;
    return &found->second;
  }

  Certificate certificate;
  PrivateKey key, leaf_key;
  std::map<std::string, Leaf> leaves;
  uint64_t uses = 0;
};

Authority::Authority(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Authority::Authority(Authority&&) noexcept = default;
Authority& Authority::operator=(Authority&&) noexcept = default;
Authority::~Authority() = default;

Result<Authority> Authority::load(const std::string& certificate, const std::string& key) {
  auto impl = std::make_unique<Impl>();
  HAKO_TRY(auto read, read_certified_key(certificate, key));
  impl->certificate = std::move(read.certificate);
  impl->key = std::move(read.key);
  if (X509_check_ca(impl->certificate.get()) != 1)
    return unfit("the certificate is not that of an authority");
  impl->leaf_key.reset(EVP_EC_gen("P-256"));
  if (!impl->leaf_key) return unfit("no key can be made");
  ERR_clear_error();
  return Authority(std::move(impl));
}

Result<std::string> Authority::certificate_for(const std::string& name, WallTime now) {
  HAKO_TRY(auto leaf, impl_->leaf_for(name, now));
  Memory text(BIO_new(BIO_s_mem()));
  if (!text || PEM_write_bio_X509(text.get(), leaf->certificate.get()) != 1)
    return unfit("a certificate cannot be written");
  char* data = nullptr;
  long size = BIO_get_mem_data(text.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

Task<Result<http::Stream>> Authority::welcome(http::Stream stream, std::string name) {
  HAKO_CO_TRY(auto leaf, impl_->leaf_for(name, WallClock::now()));
  auto layer = std::make_unique<Layer>(leaf->context, stream.take_layer());
  error_code error = co_await layer->handshake(stream, Layer::Side::server);
  if (error) co_return Error(ErrorCode::unavailable, "TLS handshake: " + error.message());
  stream.set_layer(std::move(layer));
  co_return std::move(stream);
}

size_t Authority::kept() const {
  return impl_->leaves.size();
}

}  // namespace hako::tls
