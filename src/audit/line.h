// Records as lines: how they are written, chained and signed, and read again. Pure.
//
//   {"seq":N,"prev":"H","time":"T", what happened}
//
// H is the SHA-256 of the line before without its newline, in hex; 64 zeros in the first. A line is
// printable ASCII. What the log says of itself has a member "audit" behind the time, which no other
// record has: "head", a signed one, "recovered", "gap" or "retired".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "audit/keys.h"
#include "audit/record.h"

namespace hako::audit {

/// Bytes without the newline. No record can make a longer one.
inline constexpr size_t kLongestLine = 512 << 10;
inline constexpr size_t kHashDigits = 64;
/// What stands for the hash of the line before the first.
std::string no_hash();
std::string hash_line(std::string_view line);

/// A line behind "prev": `"time":...}`. Texts are masked, escaped and bounded here.
std::string body_of(const Record& record);
/// Something was torn off the end when the log was opened.
std::string recovered_body(int64_t cut_bytes);
/// So many records could not be written, because there was no room for them or for some failure,
/// and so many more were told by nobody who waited and had to be dropped.
std::string gap_body(int64_t refused, int64_t dropped);
/// Whatever was before this sequence may be gone: it was removed because it was old.
std::string retired_body(int64_t before);

/// Where a line stands in the chain.
struct Link {
  int64_t sequence = 0;
  std::string previous;
};
std::string make_line(const Link& link, std::string_view body);
/// Nothing if that is not how a line of ours begins and ends, or it has other bytes than those of
/// printable ASCII.
std::optional<Link> parse_link(std::string_view line);

/// A signed record: who holds the public key knows that the log was so up to here.
struct Head {
  Link link;
  std::string why;  ///< "start", "interval", "segment", "rotation", "close"
  std::string log;  ///< names the log: 16 hex digits, drawn when it was begun
  std::string key;  ///< the public key, hex
};
std::string make_head(const Head& head, const SigningKey& key);
/// Whether a line says that it is one, however wrong it may be.
bool is_head(std::string_view line);
/// Nothing if it is none, or not written as we do. The signature is not looked at.
std::optional<Head> parse_head(std::string_view line);
/// Whether `key` has signed all of `line` before `,"signature":`.
bool is_signed_by(std::string_view line, const PublicKey& key);

/// The `before` of a "retired" record; nothing for all others.
std::optional<int64_t> retired_before(std::string_view line);

}  // namespace hako::audit
