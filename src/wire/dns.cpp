#include "wire/dns.h"

#include <algorithm>

#include "wire/byte_reader.h"
#include "wire/host_name.h"

namespace hako::wire::dns {
namespace {

constexpr size_t kHeaderBytes = 12;
constexpr size_t kLongestWireName = 255;
constexpr size_t kLongestText = 200;
constexpr uint8_t kPointer = 0xc0;  ///< of a name that goes on elsewhere, in its first byte
constexpr uint16_t kTypeOpt = 41;
constexpr uint16_t kOptionExtendedError = 15;
/// What a path of any kind carries in one piece (dnsflagday.net/2020).
constexpr uint16_t kOurUdpSize = 1232;

// The header's second word.
constexpr uint16_t kResponse = 0x8000;
constexpr uint16_t kOpcodeMask = 0x7800;
constexpr uint16_t kRecursionDesired = 0x0100;
constexpr uint16_t kRecursionAvailable = 0x0080;

Error unreadable(std::string_view what) {
  return Error(ErrorCode::invalid_argument, "DNS message: " + std::string(what));
}

Result<std::string> read_name(ByteReader& in) {
  std::string name;
  size_t wire_bytes = 0;
  for (;;) {
    uint8_t length = in.u8();
    wire_bytes += 1 + length;
    if (in.failed()) return unreadable("cut short");
    if (length == 0) return name;
    // Nothing stands before the only question that a pointer could point at.
    if (length > kLongestLabel) return unreadable("a pointer or unknown label in the question");
    if (wire_bytes >= kLongestWireName) return unreadable("name too long");
    if (!name.empty()) name += '.';
    for (uint8_t byte : in.take(length)) {
      char c = host_character(byte);
      if (c == '\0') return unreadable("a name that no host can have");
      name += c;
    }
  }
}

/// Past the name of a record, wherever it goes on. False for labels of kinds that are history.
bool skip_name(ByteReader& in) {
  for (;;) {
    uint8_t length = in.u8();
    if (length == 0) return true;
    if (length >= kPointer) {
      in.u8();
      return true;
    }
    if (length > kLongestLabel) return false;
    in.take(length);
  }
}

Result<void> read_additional(ByteReader& in, Query& query) {
  size_t name_at = in.position();
  if (!skip_name(in)) return unreadable("an unknown label");
  size_t name_bytes = in.position() - name_at;
  uint16_t type = in.u16();
  uint16_t klass = in.u16();
  uint32_t ttl = in.u32();
  in.take_u16();
  if (in.failed()) return unreadable("cut short");
  if (type != kTypeOpt) return ok();
  uint8_t version = static_cast<uint8_t>(ttl >> 16);
  if (query.has_edns || name_bytes != 1 || version != 0) return unreadable("EDNS");
  query.has_edns = true;
  query.udp_size = std::max<uint16_t>(klass, 512);
  return ok();
}

void put_u16(std::vector<uint8_t>& out, uint16_t value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}

void put_u32(std::vector<uint8_t>& out, uint32_t value) {
  put_u16(out, static_cast<uint16_t>(value >> 16));
  put_u16(out, static_cast<uint16_t>(value));
}

/// Header and question. `answers`: how many follow.
std::vector<uint8_t> begin_answer(const Query& query, Rcode rcode, uint16_t answers) {
  std::vector<uint8_t> out;
  put_u16(out, query.id);
  put_u16(out, static_cast<uint16_t>(kResponse | kRecursionAvailable |
                                     (query.recursion_desired ? kRecursionDesired : 0) |
                                     static_cast<uint16_t>(rcode)));
  put_u16(out, 1);
  put_u16(out, answers);
  put_u16(out, 0);
  put_u16(out, query.has_edns ? 1 : 0);
  out.insert(out.end(), query.question.begin(), query.question.end());
  return out;
}

/// The EDNS record, if the asker has sent one, with `options` in it.
void end_answer(std::vector<uint8_t>& out, const Query& query,
                std::span<const uint8_t> options = {}) {
  if (!query.has_edns) return;
  out.push_back(0);  // the root's name
  put_u16(out, kTypeOpt);
  put_u16(out, kOurUdpSize);
  put_u32(out, 0);
  put_u16(out, static_cast<uint16_t>(options.size()));
  out.insert(out.end(), options.begin(), options.end());
}

/// No more than kLongestText bytes, and no character cut in two.
std::string_view cut_text(std::string_view text) {
  if (text.size() <= kLongestText) return text;
  size_t length = kLongestText;
  auto continues = [&](size_t at) { return (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80; };
  while (length > 0 && continues(length)) --length;
  return text.substr(0, length);
}

}  // namespace

Result<Query> parse_query(std::span<const uint8_t> message) {
  ByteReader in(message);
  Query query;
  query.id = in.u16();
  uint16_t flags = in.u16();
  uint16_t questions = in.u16();
  uint16_t answers = in.u16();
  uint16_t authorities = in.u16();
  uint16_t additional = in.u16();
  if (in.failed()) return unreadable("cut short");
  if (flags & kResponse) return unreadable("a response");
  if (flags & kOpcodeMask) return unreadable("not a lookup");
  if (questions != 1 || answers != 0 || authorities != 0)
    return unreadable("more or less than one question");
  query.recursion_desired = flags & kRecursionDesired;
  HAKO_TRY(query.name, read_name(in));
  query.type = in.u16();
  query.klass = in.u16();
  if (in.failed()) return unreadable("cut short");
  auto question = message.subspan(kHeaderBytes, in.position() - kHeaderBytes);
  query.question.assign(question.begin(), question.end());
  for (; additional > 0; --additional) {
    HAKO_TRYV(read_additional(in, query));
  }
  if (!in.at_end()) return unreadable("bytes behind its end");
  return query;
}

std::vector<uint8_t> answer_address(const Query& query, std::array<uint8_t, 4> address,
                                    uint32_t ttl) {
  auto out = begin_answer(query, Rcode::no_error, 1);
  put_u16(out, kPointer << 8 | kHeaderBytes);  // the name is the question's
  put_u16(out, kTypeA);
  put_u16(out, kClassIn);
  put_u32(out, ttl);
  put_u16(out, static_cast<uint16_t>(address.size()));
  out.insert(out.end(), address.begin(), address.end());
  end_answer(out, query);
  return out;
}

std::vector<uint8_t> answer_nothing(const Query& query) {
  auto out = begin_answer(query, Rcode::no_error, 0);
  end_answer(out, query);
  return out;
}

std::vector<uint8_t> refuse(const Query& query, Rcode rcode, ExtendedError why,
                            std::string_view text) {
  auto out = begin_answer(query, rcode, 0);
  text = cut_text(text);
  std::vector<uint8_t> option;
  put_u16(option, kOptionExtendedError);
  put_u16(option, static_cast<uint16_t>(2 + text.size()));
  put_u16(option, static_cast<uint16_t>(why));
  option.insert(option.end(), text.begin(), text.end());
  end_answer(out, query, option);
  return out;
}

std::vector<uint8_t> refuse_unread(std::span<const uint8_t> message) {
  ByteReader in(message);
  uint16_t id = in.u16();
  uint16_t flags = in.u16();
  if (message.size() < kHeaderBytes || (flags & kResponse)) return {};
  uint16_t opcode = flags & kOpcodeMask;
  auto rcode = opcode == 0 ? Rcode::format : Rcode::not_implemented;
  std::vector<uint8_t> out;
  put_u16(out, id);
  put_u16(out, static_cast<uint16_t>(kResponse | kRecursionAvailable | opcode |
                                     (flags & kRecursionDesired) | static_cast<uint16_t>(rcode)));
  out.resize(kHeaderBytes);
  return out;
}

}  // namespace hako::wire::dns
