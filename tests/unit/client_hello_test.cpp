// ClientHellos made by hand and by OpenSSL.
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <memory>

#include "wire/client_hello.h"

namespace hako::wire {
namespace {

using State = ClientHello::State;
using Bytes = std::vector<uint8_t>;

void put(Bytes& out, std::initializer_list<int> bytes) {
  for (int byte : bytes) out.push_back(static_cast<uint8_t>(byte));
}

void put_all(Bytes& out, const Bytes& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

/// `content` with its length before it, a number of `width` bytes.
Bytes counted(size_t width, const Bytes& content) {
  Bytes out;
  for (size_t i = width; i-- > 0;) out.push_back(static_cast<uint8_t>(content.size() >> (8 * i)));
  put_all(out, content);
  return out;
}

Bytes extension(int type, const Bytes& content) {
  Bytes out;
  put(out, {type >> 8, type & 0xff});
  put_all(out, counted(2, content));
  return out;
}

Bytes name_entry(std::string_view name, int type = 0) {
  Bytes out;
  put(out, {type});
  put_all(out, counted(2, {name.begin(), name.end()}));
  return out;
}

Bytes server_name(std::string_view name) {
  return extension(0, counted(2, name_entry(name)));
}

/// The handshake's message. Without extensions at all where there is nothing.
Bytes hello_message(const std::vector<Bytes>& extensions) {
  Bytes body;
  put(body, {3, 3});
  body.insert(body.end(), 32, 0x5a);
  put_all(body, counted(1, Bytes(32, 0x11)));
  put_all(body, counted(2, {0x1a, 0x1a, 0x13, 0x01, 0x13, 0x02}));  // GREASE among them
  put_all(body, counted(1, {0}));
  Bytes all;
  for (const Bytes& one : extensions) put_all(all, one);
  if (!extensions.empty()) put_all(body, counted(2, all));
  Bytes message;
  put(message, {1});
  put_all(message, counted(3, body));
  return message;
}

/// Cut into records of at most `size` bytes.
Bytes in_records(const Bytes& message, size_t size = 16384, int minor = 1) {
  Bytes out;
  for (size_t at = 0; at < message.size(); at += size) {
    auto begin = message.begin() + static_cast<ptrdiff_t>(at);
    auto end = begin + static_cast<ptrdiff_t>(std::min(size, message.size() - at));
    put(out, {22, 3, minor});
    put_all(out, counted(2, Bytes(begin, end)));
  }
  return out;
}

ClientHello read(const std::vector<Bytes>& extensions) {
  return read_client_hello(in_records(hello_message(extensions)));
}

ClientHello read_name(std::string_view name) {
  return read({server_name(name)});
}

const Bytes kGrease = extension(0x2a2a, {});
const Bytes kAlpn = extension(16, {0, 3, 2, 'h', '2'});

/// Whole at its full length and beyond, incomplete when cut anywhere.
void expect_whole(const Bytes& bytes, std::string_view name) {
  for (size_t length = 0; length < bytes.size(); ++length)
    ASSERT_EQ(read_client_hello(std::span(bytes).first(length)).state, State::incomplete) << length;
  Bytes longer = bytes;
  for (int tail = 0; tail < 4; ++tail) {
    auto hello = read_client_hello(longer);
    ASSERT_EQ(hello.state, State::whole);
    EXPECT_EQ(hello.server_name, name);
    EXPECT_FALSE(hello.encrypted);
    put(longer, {23, 3, 3, 0xff});
  }
}

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Ssl = std::unique_ptr<SSL, decltype(&SSL_free)>;

Context client_context(int version) {
  Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_security_level(context.get(), 0);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context.get(), version);
  return context;
}

/// One that speaks through memory only.
Ssl endpoint(const Context& context) {
  Ssl ssl(SSL_new(context.get()), SSL_free);
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  return ssl;
}

/// What it has said since the last time.
Bytes said(const Ssl& ssl) {
  Bytes bytes(64 << 10);
  int length = BIO_read(SSL_get_wbio(ssl.get()), bytes.data(), static_cast<int>(bytes.size()));
  bytes.resize(static_cast<size_t>(std::max(length, 0)));
  return bytes;
}

void hear(const Ssl& ssl, const Bytes& bytes) {
  BIO_write(SSL_get_rbio(ssl.get()), bytes.data(), static_cast<int>(bytes.size()));
}

/// What OpenSSL's client says first.
Bytes said_by_openssl(const char* name, int version, bool many_ciphers = false) {
  Context context = client_context(version);
  const uint8_t protocols[] = {2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  SSL_CTX_set_alpn_protos(context.get(), protocols, sizeof protocols);
  if (many_ciphers) SSL_CTX_set_cipher_list(context.get(), "ALL:COMPLEMENTOFALL");
  Ssl ssl = endpoint(context);
  if (name) SSL_set_tlsext_host_name(ssl.get(), name);
  SSL_connect(ssl.get());
  return said(ssl);
}

/// A server with a certificate of its own making, which takes keys of `group` only.
Context server_context(const char* group) {
  Context context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  SSL_CTX_use_certificate(context.get(), certificate);
  SSL_CTX_use_PrivateKey(context.get(), key);
  X509_free(certificate);
  EVP_PKEY_free(key);
  SSL_CTX_set1_groups_list(context.get(), group);
  return context;
}

TEST(ClientHello, OfOpenSsl) {
  for (int version : {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION}) {
    expect_whole(said_by_openssl("www.Example.com", version), "www.example.com");
    expect_whole(said_by_openssl(nullptr, version), "");
    expect_whole(said_by_openssl("xn--bcher-kva.example", version, true), "xn--bcher-kva.example");
  }
}

TEST(ClientHello, WithGreaseAndWithout) {
  expect_whole(in_records(hello_message({kGrease, server_name("a.example"), kAlpn})), "a.example");
  expect_whole(in_records(hello_message({kAlpn, server_name("a_b.example"), kGrease})),
               "a_b.example");
  expect_whole(in_records(hello_message({kAlpn})), "");
  expect_whole(in_records(hello_message({extension(0x2a2a, {})})), "");
}

TEST(ClientHello, OfTls10AndSsl3HasNoExtensions) {
  for (int minor : {0, 1}) expect_whole(in_records(hello_message({}), 16384, minor), "");
}

TEST(ClientHello, AcrossRecords) {
  Bytes message = hello_message({kGrease, server_name("split.example"), kAlpn});
  for (size_t size : {1, 2, 3, 5, 50, 100})
    expect_whole(in_records(message, size), "split.example");
}

TEST(ClientHello, EncryptedOnesAreSeen) {
  for (int type : {0xfe0d, 0xfe08, 0xffce}) {
    auto hello = read({server_name("outer.example"), extension(type, Bytes(200, 1))});
    EXPECT_EQ(hello.state, State::whole);
    EXPECT_EQ(hello.server_name, "outer.example");
    EXPECT_TRUE(hello.encrypted) << type;
  }
  EXPECT_TRUE(read({extension(0xfe0d, {})}).encrypted);
}

TEST(ClientHello, TwoNamesAreOneTooMany) {
  Bytes two = name_entry("a.example");
  put_all(two, name_entry("b.example"));
  EXPECT_EQ(read({extension(0, counted(2, two))}).state, State::malformed);
  EXPECT_EQ(read({server_name("a.example"), server_name("a.example")}).state, State::malformed);
  Bytes other = name_entry("a.example");
  put_all(other, name_entry("b.example", 1));
  EXPECT_EQ(read({extension(0, counted(2, other))}).state, State::malformed);
  // Any extension may come only once.
  EXPECT_EQ(read({kAlpn, kAlpn}).state, State::malformed);
}

TEST(ClientHello, WhatIsNoHostNameIsMalformed) {
  using namespace std::string_view_literals;
  for (std::string_view name :
       {""sv, "a\0.example"sv, "a.example\0"sv, "a b"sv, "ä.example"sv, "192.0.2.1"sv, "::1"sv,
        "a..b"sv, ".a"sv, "a."sv, "."sv, "a.example.1"sv, "1"sv, "*.example"sv, "a/b"sv, "a:443"sv})
    EXPECT_EQ(read_name(name).state, State::malformed) << name;
  EXPECT_EQ(read_name(std::string(64, 'a')).state, State::malformed);
  std::string label(63, 'a');
  std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  EXPECT_EQ(read_name(longest).server_name, longest);
  EXPECT_EQ(read_name(longest + "b").state, State::malformed);
  EXPECT_EQ(read_name("3com.COM").server_name, "3com.com");
  EXPECT_EQ(read_name("localhost").server_name, "localhost");
}

TEST(ClientHello, WrongLengthsAreMalformed) {
  Bytes entry = name_entry("a.example");
  for (size_t width : {1, 3})
    EXPECT_EQ(read({extension(0, counted(width, entry))}).state, State::malformed);
  EXPECT_EQ(read({extension(0, {})}).state, State::malformed);
  EXPECT_EQ(read({extension(0, {0, 0})}).state, State::malformed);
  // Each length in turn one too many or one too few.
  Bytes good = hello_message({server_name("a.example")});
  for (size_t at : {3u, 38u, 72u, 79u, 81u, 85u, 87u, 90u}) {
    for (int change : {-1, 1}) {
      Bytes bad = good;
      bad[at] = static_cast<uint8_t>(bad[at] + change);
      bad.push_back(0);
      EXPECT_EQ(read_client_hello(in_records(bad)).state, State::malformed) << at << " " << change;
    }
  }
  Bytes message = hello_message({kAlpn});
  message[4] = 2;  // SSL 2 inside
  EXPECT_EQ(read_client_hello(in_records(message)).state, State::malformed);
}

TEST(ClientHello, OtherTlsIsMalformed) {
  auto state = [](Bytes bytes) { return read_client_hello(bytes).state; };
  // A ServerHello, an empty record, one too long, a warning, a change of ciphers, data, heartbeat.
  EXPECT_EQ(state({22, 3, 1, 0, 4, 2}), State::malformed);
  EXPECT_EQ(state({22, 3, 1, 0, 0}), State::malformed);
  EXPECT_EQ(state({22, 3, 1, 0x40, 1}), State::malformed);
  for (uint8_t type : {20, 21, 23, 24}) {
    EXPECT_EQ(state({type}), State::incomplete);
    EXPECT_EQ(state({type, 3}), State::malformed);
    EXPECT_EQ(state({type, 4}), State::no_tls);
  }
  // Some servers do not look at the version.
  EXPECT_EQ(state({22, 2, 1, 0, 4}), State::malformed);
  // The hello goes on in a record that is no handshake's.
  Bytes records = in_records(hello_message({kAlpn}), 50);
  records[55] = 23;
  EXPECT_EQ(read_client_hello(records).state, State::malformed);
}

TEST(ClientHello, InTheFormOfSsl2) {
  // As OpenSSL 0.9.8 said it: length, type, version, three lengths, ciphers, challenge.
  Bytes hello{0x80, 0x2e, 0x01, 0x03, 0x01, 0x00, 0x15, 0x00, 0x00, 0x00, 0x10};
  EXPECT_EQ(read_client_hello(std::span(hello).first(2)).state, State::incomplete);
  EXPECT_EQ(read_client_hello(hello).state, State::malformed);
  EXPECT_EQ(read_client_hello(Bytes{0x80, 0x2e, 0x02}).state, State::no_tls);
}

TEST(ClientHello, ASecondOneAfterARetry) {
  Context clients = client_context(TLS1_3_VERSION);
  SSL_CTX_set1_groups_list(clients.get(), "X25519:P-384");
  Context servers = server_context("P-384");
  Ssl client = endpoint(clients);
  Ssl server = endpoint(servers);
  SSL_set_tlsext_host_name(client.get(), "first.example");
  SSL_connect(client.get());
  Bytes first = said(client);
  EXPECT_EQ(read_client_hello(first).server_name, "first.example");
  hear(server, first);
  SSL_accept(server.get());
  Bytes reply = said(server);
  // The server's record of the hello, and a change of ciphers behind it.
  Bytes retry(reply.begin(), reply.end() - 6);
  EXPECT_EQ(read_hello_reply(reply), HelloReply::retry);
  EXPECT_EQ(read_hello_reply(retry), HelloReply::retry);
  for (size_t length = 0; length < retry.size(); ++length)
    EXPECT_EQ(read_hello_reply(std::span(retry).first(length)), HelloReply::incomplete);
  hear(client, reply);
  // A client may name somebody else now, and the server goes by that.
  SSL_set_tlsext_host_name(client.get(), "second.example");
  SSL_connect(client.get());
  Bytes second = said(client);
  for (size_t length = 0; length < second.size(); ++length)
    ASSERT_EQ(read_second_hello(std::span(second).first(length)).state, State::incomplete);
  auto hello = read_second_hello(second);
  EXPECT_EQ(hello.state, State::whole);
  EXPECT_EQ(hello.server_name, "second.example");
  EXPECT_EQ(hello.size, second.size());
  // Some clients leave the change of ciphers out.
  hello = read_second_hello(std::span(second).subspan(6));
  EXPECT_EQ(hello.server_name, "second.example");
  hear(server, second);
  SSL_accept(server.get());
  EXPECT_STREQ(SSL_get_servername(server.get(), TLSEXT_NAMETYPE_host_name), "second.example");
}

TEST(ClientHello, OtherReplies) {
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Context servers = server_context("P-384");
    Ssl server = endpoint(servers);
    Context clients = client_context(version);
    SSL_CTX_set1_groups_list(clients.get(), "P-384");
    Ssl client = endpoint(clients);
    SSL_connect(client.get());
    hear(server, said(client));
    SSL_accept(server.get());
    EXPECT_EQ(read_hello_reply(said(server)), HelloReply::other);
  }
  EXPECT_EQ(read_hello_reply({}), HelloReply::incomplete);
  EXPECT_EQ(read_hello_reply(Bytes{21, 3, 1, 0, 2, 2, 40}), HelloReply::other);  // an alert
  EXPECT_EQ(read_hello_reply(Bytes{'H', 'T', 'T', 'P'}), HelloReply::other);
  EXPECT_EQ(read_second_hello(Bytes{23, 3, 3, 0, 1, 0}).state, State::malformed);
}

TEST(ClientHello, ItsEnd) {
  Bytes bytes = in_records(hello_message({server_name("a.example")}), 50);
  size_t size = bytes.size();
  put(bytes, {22, 3, 1, 0, 1, 1});
  EXPECT_EQ(read_client_hello(bytes).size, size);
  // A second message in its last record, which might be another hello.
  Bytes two = hello_message({server_name("a.example")});
  put_all(two, hello_message({server_name("b.example")}));
  Bytes record = in_records(two);
  EXPECT_EQ(read_client_hello(record).state, State::malformed);
  EXPECT_EQ(read_client_hello(std::span(record).first(record.size() - 80)).state, State::malformed);
}

TEST(ClientHello, IsBounded) {
  Bytes padding = extension(21, Bytes(15000, 0));
  EXPECT_EQ(read({padding, server_name("a.example")}).server_name, "a.example");
  EXPECT_EQ(read({padding, extension(22, Bytes(2000, 0))}).state, State::malformed);
  // Announced or framed so that it would become longer: no need to wait for the rest.
  EXPECT_EQ(read_client_hello(Bytes{22, 3, 1, 0, 200, 1, 1, 0, 0}).state, State::malformed);
  Bytes message = hello_message({extension(21, Bytes(4000, 0))});
  Bytes slow = in_records(message, 1);
  EXPECT_EQ(read_client_hello(slow).state, State::malformed);
  EXPECT_EQ(read_client_hello(std::span(slow).first(kLongestHello)).state, State::malformed);
  EXPECT_EQ(read_client_hello(std::span(slow).first(kLongestHello - 1)).state, State::incomplete);
}

TEST(ClientHello, OtherProtocolsAreNone) {
  for (std::string_view text :
       {"GET / HTTP/1.1\r\n", "SSH-2.0-x\r\n", "\x10\x20", "\n", "\x05\x01"})
    EXPECT_EQ(read_client_hello({reinterpret_cast<const uint8_t*>(text.data()), text.size()}).state,
              State::no_tls)
        << text;
}

}  // namespace
}  // namespace hako::wire
