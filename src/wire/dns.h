// DNS messages as a box asks and is answered: RFC 1035, RFC 6891 (EDNS), RFC 8914 (why).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hako::wire::dns {

inline constexpr uint16_t kTypeA = 1;
inline constexpr uint16_t kTypeCname = 5;
inline constexpr uint16_t kTypePtr = 12;
inline constexpr uint16_t kTypeAaaa = 28;
inline constexpr uint16_t kTypeSvcb = 64;
inline constexpr uint16_t kTypeHttps = 65;
inline constexpr uint16_t kClassIn = 1;

enum class Rcode : uint8_t {
  no_error = 0,
  format = 1,
  server_failure = 2,
  no_such_name = 3,
  not_implemented = 4,
  refused = 5
};

/// Extended errors (RFC 8914) that we give.
enum class ExtendedError : uint16_t {
  other = 0,
  blocked = 15,
  prohibited = 18,
  network_error = 23
};

/// A question. Value type.
struct Query {
  uint16_t id = 0;
  bool recursion_desired = false;
  std::string name;  ///< lower case, without the last dot; empty for the root
  uint16_t type = 0;
  uint16_t klass = 0;
  bool has_edns = false;
  uint16_t udp_size = 512;        ///< what the asker takes over UDP, at least 512
  std::vector<uint8_t> question;  ///< as it was asked, for the answer
};

/// Reads a message with exactly one question; over TCP, without the length before it.
/// Errors: invalid_argument: not an answerable message (a response, too short or too long, a
/// pointer in the question, several questions): say nothing, or refuse_unread(). Labels with bytes
/// outside [A-Za-z0-9_-] are invalid_argument, too.
Result<Query> parse_query(std::span<const uint8_t> message);

/// Answers, at most 512 bytes each. `ttl`: seconds.
std::vector<uint8_t> answer_address(const Query& query, std::array<uint8_t, 4> address,
                                    uint32_t ttl);
/// The name exists and has nothing of this type.
std::vector<uint8_t> answer_nothing(const Query& query);
/// An error with why; `text` goes out as extended error text (cut at 200 bytes) if the asker knows
/// EDNS.
std::vector<uint8_t> refuse(const Query& query, Rcode rcode, ExtendedError why,
                            std::string_view text);
/// For a message that could not be read: its id with FORMERR, or NOTIMP where it asks for anything
/// but a lookup; nothing for one without a header or for a response.
std::vector<uint8_t> refuse_unread(std::span<const uint8_t> message);

}  // namespace hako::wire::dns
