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
constexpr size_t kMessageHeaderBytes = 4;
constexpr size_t kRandomBytes = 32;
constexpr size_t kLongestSession = 32;
constexpr uint16_t kExtensionServerName = 0;
constexpr uint8_t kNameTypeHost = 0;
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

/// The next record, or as much of it as is here, onto `gathered`. incomplete: nothing is here.
State take_fragment(ByteReader& in, std::vector<uint8_t>& gathered) {
  if (in.left() > 0 && in.u8() != kHandshake) return State::malformed;
  if (in.left() > 0 && in.u8() != kMajorVersion) return State::malformed;
  in.u8();  // the minor version says nothing
  size_t length = in.u16();
  if (in.failed()) return State::incomplete;
  if (length == 0 || length > kLongestFragment) return State::malformed;
  auto fragment = in.take(std::min(length, in.left()));
  gathered.insert(gathered.end(), fragment.begin(), fragment.end());
  return State::whole;
}

/// A message of the handshake. `body` lies in `gathered`.
State read_message(Bytes gathered, Bytes& body) {
  ByteReader in(gathered);
  if (in.left() > 0 && in.u8() != kMessageClientHello) return State::malformed;
  size_t length = in.u24();
  if (in.failed()) return State::incomplete;
  if (length > kLongestHello) return State::malformed;
  if (in.left() < length) return State::incomplete;
  body = in.take(length);
  return State::whole;
}

/// Puts the hello together. `body` lies in `gathered`.
State gather(Bytes bytes, std::vector<uint8_t>& gathered, Bytes& body) {
  ByteReader in(bytes);
  for (;;) {
    State state = read_message(gathered, body);
    if (state == State::whole) {
      size_t record_headers = in.position() - gathered.size();
      bool too_long = record_headers + kMessageHeaderBytes + body.size() > kLongestHello;
      return too_long ? State::malformed : State::whole;
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
  std::vector<uint8_t> gathered;
  Bytes body;
  hello.state = gather(bytes, gathered, body);
  if (hello.state != State::whole) return hello;
  if (!read_body(body, hello)) return {State::malformed, {}, false};
  return hello;
}

}  // namespace hako::wire
