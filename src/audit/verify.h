// Whether a copy of a log is what was written, with the public key alone. Offline; blocking.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "audit/keys.h"
#include "base/result.h"

namespace hako::audit {

enum class Flaw {
  changed,       ///< its bytes are not those that were written
  missing,       ///< it should stand there, and is nowhere
  inserted,      ///< it stands where another one belongs
  out_of_order,  ///< it belongs elsewhere, or stands there twice
  truncated,     ///< the end, from this record on, was cut off
  signature,     ///< a head whose signature is wrong: something since the head before was changed
  foreign,       ///< of another log, or signed with another key
};
/// "changed", ..., "out of order", ...
std::string_view to_string(Flaw flaw);

/// The first record that does not fit.
struct Problem {
  Flaw flaw = Flaw::changed;
  std::string segment;   ///< the file's name; empty if there is none
  int64_t line = 0;      ///< in the file, from 1; 0 if it has none
  int64_t sequence = 0;  ///< of the record
  std::string text;      ///< a sentence, for people
};

struct Verdict {
  std::optional<Problem> problem;  ///< nothing: all fits
  int64_t segments = 0, records = 0, heads = 0;
  int64_t first_sequence = 0, last_sequence = 0;
  std::string log;              ///< its name
  int64_t signed_sequence = 0;  ///< of the last head; records behind it are covered by no signature
  std::string signed_time;      ///< RFC 3339, of the same
  bool closed = false;          ///< the last record is the head of an orderly end
  bool compared_with_head =
      false;  ///< there was a head from elsewhere, or head.json, to compare with
};

/// What is known of the log from elsewhere.
struct Expectation {
  std::string head;      ///< a signed line, as in head.json; empty: none
  int64_t at_least = 0;  ///< there must be a record with this sequence, ...
  std::string hash;      ///< ... and this hash
  /// The copy is meant to begin with the segment of this sequence. Without it, it must begin with
  /// the first record, or a record in it must tell that older segments were removed.
  int64_t begins_at = 0;
  /// Only records up to this sequence are looked at, and no head.json: for a log that is being
  /// written to. 0: all.
  int64_t up_to = 0;
  /// Once true, it ends with the error cancelled. Null: never.
  const std::atomic<bool>* stop = nullptr;
};

/// Reads all segments in `directory` once, in bounded memory; a second time to say what is wrong. A
/// head.json in it must be in the log, too. No link is followed, that to the folder itself
/// included: whoever can write to it is not trusted. Errors: those of files; failed_precondition
/// for a link; not_found without any segment; invalid_argument for an expectation that is none,
/// corrupted for a head that `key` has not signed.
Result<Verdict> verify_log(const std::string& directory, const PublicKey& key,
                           const Expectation& expected = {});

}  // namespace hako::audit
