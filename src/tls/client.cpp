#include "tls/client.h"

#include <boost/asio/ip/address.hpp>

#include "tls/certificate.h"
#include "tls/layer.h"

namespace hako::tls {

namespace ssl = asio::ssl;
using boost::system::error_code;

namespace {

/// In the form of the protocol: a length before each name.
constexpr unsigned char kHttp11[] = "\x08http/1.1";

std::string day_of(WallTime time) {
  return to_rfc3339(time).substr(0, 10);
}

bool is_about_trust(int code) {
  switch (code) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
      return true;
    default:
      return false;
  }
}

/// What OpenSSL found wrong with a certificate of the chain.
Error describe(int code, const X509* certificate, const std::string& host) {
  CertificateFacts facts = certificate ? facts_of(certificate) : CertificateFacts();
  if (is_about_trust(code))
    return Error(ErrorCode::permission_denied,
                 "its certificate is signed by an authority that is not trusted here (" +
                     facts.issuer + ")");
  std::string what = "its certificate is not good: ";
  if (code == X509_V_ERR_HOSTNAME_MISMATCH || code == X509_V_ERR_IP_ADDRESS_MISMATCH)
    what = "its certificate is for " + list_names(facts.names) + ", and not for " + host;
  else if (code == X509_V_ERR_CERT_HAS_EXPIRED)
    what = "its certificate has expired on " + day_of(facts.ends);
  else if (code == X509_V_ERR_CERT_NOT_YET_VALID)
    what = "its certificate is good only from " + day_of(facts.begins) +
           " on; is the clock right?";
  else
    what += X509_verify_cert_error_string(code);
  return Error(ErrorCode::unauthenticated, std::move(what));
}

Error failed(const error_code& error) {
  bool no_tls = error.category() == asio::error::get_ssl_category() &&
                ERR_GET_REASON(static_cast<unsigned long>(error.value())) ==
                    SSL_R_WRONG_VERSION_NUMBER;
  return Error(ErrorCode::unavailable,
               no_tls ? "what answers there speaks no TLS: is it http:// and not https://?"
                      : "TLS handshake: " + error.message());
}

/// Only the alternative names count, as browsers have it, and "*" only as a whole label.
bool expect_host(SSL* handle, const std::string& host) {
  X509_VERIFY_PARAM* rules = SSL_get0_param(handle);
  X509_VERIFY_PARAM_set_hostflags(
      rules, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  error_code no_address;
  asio::ip::make_address(host, no_address);
  if (!no_address) return X509_VERIFY_PARAM_set1_ip_asc(rules, host.c_str()) == 1;
  return X509_VERIFY_PARAM_set1_host(rules, host.data(), host.size()) == 1 &&
         SSL_set_tlsext_host_name(handle, host.c_str()) == 1;
}

/// Who is being talked to, and what was found wrong with its certificate.
struct Judgement {
  std::string host;
  std::optional<Error> problem;
};

int judgement_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int judge(int good, X509_STORE_CTX* chain) {
  auto* ssl = static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* judgement = static_cast<Judgement*>(SSL_get_ex_data(ssl, judgement_index()));
  if (!good && judgement)
    judgement->problem.emplace(describe(X509_STORE_CTX_get_error(chain),
                                        X509_STORE_CTX_get_current_cert(chain), judgement->host));
  return good;
}

}  // namespace

struct Client::Impl {
  /// Reading the system's authorities takes milliseconds: once, and only if TLS is spoken.
  Result<std::shared_ptr<ssl::context>> load() {
    if (context) return context;
    auto made = std::make_shared<ssl::context>(ssl::context::tls_client);
    SSL_CTX* handle = made->native_handle();
    SSL_CTX_set_min_proto_version(handle, TLS1_2_VERSION);
    SSL_CTX_set_options(handle, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_alpn_protos(handle, kHttp11, sizeof kHttp11 - 1);
    error_code error;
    if (ca_file.empty())
      made->set_default_verify_paths(error);
    else
      made->load_verify_file(ca_file, error);
    if (error)
      return Error(ErrorCode::invalid_argument,
                   (ca_file.empty() ? "the system's certificates of authorities"
                                    : "certificates of authorities in " + ca_file) +
                       " cannot be read: " + error.message());
    made->set_verify_mode(ssl::verify_peer);
    context = std::move(made);
    return context;
  }

  std::string ca_file;
  std::shared_ptr<ssl::context> context;
};

Client::Client(std::string ca_file) : impl_(std::make_unique<Impl>()) {
  impl_->ca_file = std::move(ca_file);
}
Client::~Client() = default;

Result<void> Client::prepare() {
  HAKO_TRY(auto context, impl_->load());
  (void)context;
  return ok();
}

Task<Result<http::Stream>> Client::connect(http::Stream stream, std::string host) {
  HAKO_CO_TRY(auto context, impl_->load());
  auto layer = std::make_unique<Layer>(std::move(context), stream.take_layer());
  SSL* handle = layer->handle();
  if (!expect_host(handle, host))
    co_return Error(ErrorCode::invalid_argument, "no certificate can be for '" + host + "'");
  Judgement judgement;
  judgement.host = host;
  SSL_set_ex_data(handle, judgement_index(), &judgement);
  SSL_set_verify(handle, SSL_VERIFY_PEER, judge);
  error_code error = co_await layer->handshake(stream, Layer::Side::client);
  SSL_set_ex_data(handle, judgement_index(), nullptr);
  if (judgement.problem) co_return *judgement.problem;
  if (error) co_return failed(error);
  stream.set_layer(std::move(layer));
  co_return std::move(stream);
}

}  // namespace hako::tls
