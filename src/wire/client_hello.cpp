#include "wire/client_hello.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <vector>

#include "wire/byte_reader.h"
#include "wire/host_name.h"

namespace hako::wire {
namespace {

using State = ClientHello::State;
using Bytes = std::span<const uint8_t>;

constexpr uint8_t kFirstRecordType = 20;  // change_cipher_spec
constexpr uint8_t kHandshake = 22;
constexpr uint8_t kLastRecordType = 24;  // heartbeat
constexpr uint8_t kMajorVersion = 3;     // of SSL 3.0 and all that came after it
constexpr size_t kLongestFragment = 1 << 14;
constexpr uint8_t kMessageClientHello = 1;
constexpr uint8_t kMessageServerHello = 2;
constexpr size_t kMessageHeaderBytes = 4;
constexpr size_t kRandomBytes = 32;
constexpr size_t kLongestSession = 32;
constexpr uint16_t kExtensionServerName = 0;
constexpr uint8_t kNameTypeHost = 0;
/// The random number in a ServerHello that is a HelloRetryRequest (RFC 8446, 4.1.3).
constexpr std::array<uint8_t, kRandomBytes> kRetry{
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};
/// A whole record. In TLS 1.3 it means nothing.
constexpr std::array<uint8_t, 6> kChangeCipherSpec{20, 3, 3, 0, 1, 1};
/// Encrypted hellos (0xfe0d), those of the drafts before, and their ancestor, encrypted SNI.
constexpr std::array<uint16_t, 9> kEncrypting{0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09,
                                              0xfe08, 0xff03, 0xff02, 0xffce};

/// What the very first bytes say: whole means that records of a handshake follow.
State state_from_start(Bytes bytes) {
  if (bytes.empty()) return State::incomplete;
  uint8_t first = bytes[0];
  if (first & 0x80) {
    // SSL 2: a length of two bytes, then the message's type.
    if (bytes.size() < 3) return State::incomplete;
    return bytes[2] == kMessageClientHello ? State::malformed : State::no_tls;
  }
  if (first < kFirstRecordType || first > kLastRecordType) return State::no_tls;
  if (bytes.size() < 2) return State::incomplete;
  if (first == kHandshake && bytes[1] == kMajorVersion) return State::whole;
  // Servers pass over warnings before a hello, and some are lenient with versions.
  return first == kHandshake || bytes[1] == kMajorVersion ? State::malformed : State::no_tls;
}

/// Messages of a handshake, without the records around them.
struct Gathered {
  std::vector<uint8_t> bytes;
  size_t missing = 0;  ///< of the last record, as it announced itself
};

/// The next record, or as much of it as is here. incomplete: nothing is here.
State take_fragment(ByteReader& in, Gathered& gathered) {
  if (in.left() > 0 && in.u8() != kHandshake) return State::malformed;
  if (in.left() > 0 && in.u8() != kMajorVersion) return State::malformed;
  in.u8();  // the minor version says nothing
  size_t length = in.u16();
  if (in.failed()) return State::incomplete;
  if (length == 0 || length > kLongestFragment) return State::malformed;
  auto fragment = in.take(std::min(length, in.left()));
  gathered.bytes.insert(gathered.bytes.end(), fragment.begin(), fragment.end());
  gathered.missing = length - fragment.size();
  return State::whole;
}

/// The first message of a handshake. `body` lies in `gathered`.
State read_message(Bytes gathered, uint8_t type, Bytes& body) {
  ByteReader in(gathered);
  if (in.left() > 0 && in.u8() != type) return State::malformed;
  size_t length = in.u24();
  if (in.failed()) return State::incomplete;
  if (length > kLongestHello) return State::malformed;
  if (in.left() < length) return State::incomplete;
  body = in.take(length);
  return State::whole;
}

/// Puts the first message together, which must be of `type`. `body` lies in `gathered`; `size`:
/// where it ends in `bytes`.
State gather(Bytes bytes, uint8_t type, Gathered& gathered, Bytes& body, size_t& size) {
  ByteReader in(bytes);
  for (;;) {
    State state = read_message(gathered.bytes, type, body);
    if (state == State::whole) {
      size_t record_headers = in.position() - gathered.bytes.size();
      size = record_headers + kMessageHeaderBytes + body.size();
      return size > kLongestHello ? State::malformed : State::whole;
    }
    if (state == State::incomplete) state = take_fragment(in, gathered);
    if (state == State::malformed) return state;
    if (state == State::incomplete)
      return bytes.size() >= kLongestHello ? State::malformed : State::incomplete;
  }
}

/// In lower case; nothing for what is no host name.
std::optional<std::string> read_host_name(Bytes bytes) {
  if (bytes.size() > kLongestHostName) return std::nullopt;
  std::string name;
  size_t label_at = 0;
  bool number = true;
  auto label_is_good = [&] {
    size_t length = name.size() - label_at;
    return length > 0 && length <= kLongestLabel;
  };
  for (uint8_t byte : bytes) {
    if (byte == '.') {
      if (!label_is_good()) return std::nullopt;
      name += '.';
      label_at = name.size();
      number = true;
      continue;
    }
    char c = host_character(byte);
    if (c == '\0') return std::nullopt;
    name += c;
    number = number && c >= '0' && c <= '9';
  }
  // What ends in a number is an address, or would be taken for one.
  if (!label_is_good() || number) return std::nullopt;
  return name;
}

bool read_server_name(Bytes extension, std::string& name) {
  ByteReader in(extension);
  ByteReader list(in.take_u16());
  bool is_host = list.u8() == kNameTypeHost;
  auto bytes = list.take_u16();
  // One entry and nothing else, whatever the list might hold by its syntax.
  if (!is_host || !list.at_end() || !in.at_end()) return false;
  auto host = read_host_name(bytes);
  if (host) name = std::move(*host);
  return host.has_value();
}

bool read_extensions(Bytes bytes, ClientHello& hello) {
  ByteReader in(bytes);
  std::set<uint16_t> seen;
  while (!in.at_end()) {
    uint16_t type = in.u16();
    auto content = in.take_u16();
    if (in.failed() || !seen.insert(type).second) return false;
    if (type == kExtensionServerName && !read_server_name(content, hello.server_name)) return false;
    if (std::find(kEncrypting.begin(), kEncrypting.end(), type) != kEncrypting.end())
      hello.encrypted = true;
  }
  return true;
}

bool read_body(Bytes body, ClientHello& hello) {
  ByteReader in(body);
  uint8_t major = in.u8();
  in.u8();
  in.take(kRandomBytes);
  auto session = in.take_u8();
  auto ciphers = in.take_u16();
  auto compressions = in.take_u8();
  if (in.failed() || major != kMajorVersion || session.size() > kLongestSession) return false;
  if (ciphers.empty() || ciphers.size() % 2 != 0 || compressions.empty()) return false;
  if (in.at_end()) return true;  // before there were extensions
  auto extensions = in.take_u16();
  return in.at_end() && read_extensions(extensions, hello);
}

}  // namespace

ClientHello read_client_hello(std::span<const uint8_t> bytes) {
  ClientHello hello;
  hello.state = state_from_start(bytes);
  if (hello.state != State::whole) return hello;
  Gathered gathered;
  Bytes body;
  size_t size = 0;
  hello.state = gather(bytes, kMessageClientHello, gathered, body, size);
  if (hello.state != State::whole) return hello;
  bool alone = gathered.missing == 0 && gathered.bytes.size() == kMessageHeaderBytes + body.size();
  if (!alone || !read_body(body, hello)) return {State::malformed, {}, false, 0};
  hello.size = size;
  return hello;
}

HelloReply read_hello_reply(std::span<const uint8_t> bytes) {
  Gathered gathered;
  Bytes body;
  size_t size = 0;
  State state = gather(bytes, kMessageServerHello, gathered, body, size);
  if (state == State::incomplete) return HelloReply::incomplete;
  if (state != State::whole) return HelloReply::other;
  ByteReader in(body);
  in.u16();  // version
  auto random = in.take(kRandomBytes);
  bool retry = std::equal(random.begin(), random.end(), kRetry.begin(), kRetry.end());
  return retry ? HelloReply::retry : HelloReply::other;
}

ClientHello read_second_hello(std::span<const uint8_t> bytes) {
  // For old boxes on the way, clients put an empty word between the two.
  size_t common = std::min(bytes.size(), kChangeCipherSpec.size());
  bool changes =
      common > 0 && std::equal(bytes.begin(), bytes.begin() + common, kChangeCipherSpec.begin());
  if (!changes) return read_client_hello(bytes);
  if (common < kChangeCipherSpec.size()) return {};
  auto hello = read_client_hello(bytes.subspan(common));
  if (hello.state == State::whole) hello.size += common;
  return hello;
}

}  // namespace hako::wire
