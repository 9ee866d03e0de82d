#include "audit/line.h"

#include <sodium/crypto_hash_sha256.h>

#include <algorithm>
#include <charconv>

#include "audit/text.h"
#include "base/clock.h"
#include "base/encoding.h"

namespace hako::audit {
namespace {

constexpr size_t kLongestDetailName = 64;
/// How much of a text is looked at for secrets: more than is kept, so that one does not show
/// because its end was cut off.
constexpr size_t kMaskWithin = 4 * Record::kLongestText;
constexpr std::string_view kSignature = ",\"signature\":\"";
constexpr size_t kSignatureDigits = 128;
constexpr size_t kMostSequenceDigits = 16;

void append_masked(std::string& out, std::string_view text) {
  size_t whole = text.size() > kMaskWithin ? text.size() : 0;
  append_quoted(out, mask_secrets(text, kMaskWithin), Record::kLongestText, whole);
}

void append_member(std::string& out, std::string_view name, std::string_view text) {
  if (text.empty()) return;
  out += ",\"";
  out += name;
  out += "\":";
  append_masked(out, text);
}

void append_details(std::string& out, const Record& record) {
  if (record.details.empty()) return;
  out += ",\"details\":{";
  size_t count = 0;
  for (const auto& [name, text] : record.details) {
    if (count == Record::kMostDetails) break;
    if (count++ > 0) out += ',';
    append_quoted(out, name, kLongestDetailName);
    out += ':';
    append_masked(out, text);
  }
  out += '}';
}

std::string note_start(std::string_view kind) {
  std::string out = "\"time\":\"" + rfc3339_now() + "\",\"audit\":\"";
  return out.append(kind) + "\"";
}

void append_number(std::string& out, std::string_view name, int64_t value) {
  out.append(",\"").append(name).append("\":").append(std::to_string(value));
}

/// Takes `expected` off the start.
bool take(std::string_view& text, std::string_view expected) {
  if (text.substr(0, expected.size()) != expected) return false;
  text.remove_prefix(expected.size());
  return true;
}

std::optional<int64_t> take_number(std::string_view& text) {
  size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || digits > kMostSequenceDigits || text.front() == '0') return std::nullopt;
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + digits, value);
  text.remove_prefix(digits);
  return value;
}

bool is_lower_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<std::string> take_hex(std::string_view& text, size_t digits) {
  std::string_view hex = text.substr(0, digits);
  if (hex.size() != digits || !is_lower_hex(hex)) return std::nullopt;
  text.remove_prefix(digits);
  return std::string(hex);
}

/// Letters, digits and what stands in a time, up to the closing quote, which goes, too.
std::optional<std::string> take_word(std::string_view& text) {
  constexpr size_t kLongestWord = 40;
  size_t end = text.substr(0, kLongestWord + 1).find('"');
  if (end == std::string_view::npos) return std::nullopt;
  std::string word(text.substr(0, end));
  text.remove_prefix(end + 1);
  return word;
}

std::optional<Link> take_link(std::string_view& text) {
  if (!take(text, "{\"seq\":")) return std::nullopt;
  auto sequence = take_number(text);
  if (!sequence || !take(text, ",\"prev\":\"")) return std::nullopt;
  auto previous = take_hex(text, kHashDigits);
  if (!previous || !take(text, "\",\"time\":\"")) return std::nullopt;
  return Link{*sequence, std::move(*previous)};
}

/// What a line that the log says of itself has behind `"audit":"KIND"`.
std::optional<std::string_view> behind_kind(std::string_view line, std::string_view kind) {
  if (!take_link(line) || !take_word(line) || !take(line, ",\"audit\":\"") || !take(line, kind) ||
      !take(line, "\"")) {
    return std::nullopt;
  }
  return line;
}

}  // namespace

std::string no_hash() {
  return std::string(kHashDigits, '0');
}

std::string hash_line(std::string_view line) {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(line.data()), line.size());
  return hex_encode({reinterpret_cast<const char*>(digest), sizeof digest});
}

std::string body_of(const Record& record) {
  int64_t time_ms = record.time_ms != 0 ? record.time_ms : to_unix_ms(WallClock::now());
  std::string out = "\"time\":\"" + to_rfc3339(from_unix_ms(time_ms)) + "\"";
  append_member(out, "tenant", record.tenant);
  append_member(out, "actor", record.actor);
  append_member(out, "user", record.user);
  append_member(out, "agent", record.agent);
  append_member(out, "action", record.action);
  append_member(out, "sandbox", record.sandbox);
  append_member(out, "outcome", record.outcome);
  append_member(out, "reason", record.reason);
  append_member(out, "label", record.label);
  append_member(out, "source", record.source);
  append_member(out, "request", record.request);
  append_details(out, record);
  return out += '}';
}

std::string recovered_body(int64_t cut_bytes) {
  std::string out = note_start("recovered");
  append_number(out, "cut_bytes", cut_bytes);
  return out += '}';
}

std::string gap_body(int64_t refused, int64_t dropped) {
  std::string out = note_start("gap");
  append_number(out, "refused", refused);
  append_number(out, "dropped", dropped);
  return out += '}';
}

std::string retired_body(int64_t before) {
  std::string out = note_start("retired");
  append_number(out, "before", before);
  return out += '}';
}

std::string make_line(const Link& link, std::string_view body) {
  std::string line = "{\"seq\":" + std::to_string(link.sequence) + ",\"prev\":\"";
  return line.append(link.previous).append("\",").append(body);
}

std::optional<Link> parse_link(std::string_view line) {
  auto is_printable = [](char c) { return c >= ' ' && c <= '~'; };
  if (line.size() > kLongestLine || !std::all_of(line.begin(), line.end(), is_printable)) {
    return std::nullopt;
  }
  if (line.empty() || line.back() != '}') return std::nullopt;
  return take_link(line);
}

std::string make_head(const Head& head, const SigningKey& key) {
  std::string body = note_start("head");
  body.append(",\"why\":\"").append(head.why);
  body.append("\",\"log\":\"").append(head.log);
  body.append("\",\"key\":\"").append(head.key).append("\"");
  std::string line = make_line(head.link, body);
  std::string signature = hex_encode(key.sign(line));
  return line.append(kSignature).append(signature).append("\"}");
}

bool is_head(std::string_view line) {
  return behind_kind(line, "head").has_value();
}

std::optional<Head> parse_head(std::string_view line) {
  auto link = parse_link(line);
  auto rest = behind_kind(line, "head");
  if (!link || !rest || !take(*rest, ",\"why\":\"")) return std::nullopt;
  Head head;
  head.link = std::move(*link);
  auto why = take_word(*rest);
  if (!why || !take(*rest, ",\"log\":\"")) return std::nullopt;
  auto log = take_hex(*rest, 16);
  if (!log || !take(*rest, "\",\"key\":\"")) return std::nullopt;
  auto key = take_hex(*rest, 64);
  if (!key || !take(*rest, "\"") || !take(*rest, kSignature)) return std::nullopt;
  auto signature = take_hex(*rest, kSignatureDigits);
  if (!signature || *rest != "\"}") return std::nullopt;
  head.why = std::move(*why);
  head.log = std::move(*log);
  head.key = std::move(*key);
  return head;
}

bool is_signed_by(std::string_view line, const PublicKey& key) {
  constexpr size_t kTail = kSignature.size() + kSignatureDigits + 2;
  if (line.size() < kTail) return false;
  std::string_view text = line.substr(0, line.size() - kTail);
  std::string_view rest = line.substr(text.size());
  if (!take(rest, kSignature) || !is_lower_hex(rest.substr(0, kSignatureDigits))) return false;
  auto signature = hex_decode(rest.substr(0, kSignatureDigits));
  return signature && rest.substr(kSignatureDigits) == "\"}" && verify(text, *signature, key);
}

std::optional<int64_t> retired_before(std::string_view line) {
  auto rest = behind_kind(line, "retired");
  if (!rest || !take(*rest, ",\"before\":")) return std::nullopt;
  return take_number(*rest);
}

}  // namespace hako::audit
