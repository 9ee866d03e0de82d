// What a box asks its DNS server: whatever it is, the answers are short and well-formed, as glibc
// reads them, and belong to the question.
#include <arpa/nameser.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "wire/dns.h"

namespace {

using namespace hako::wire::dns;
using Message = std::vector<uint8_t>;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_answer(const Query& query, const Message& answer, int rcode, int answers) {
  require(answer.size() <= 512);
  ns_msg parsed;
  require(ns_initparse(answer.data(), static_cast<int>(answer.size()), &parsed) == 0);
  require(ns_msg_id(parsed) == query.id);
  require(ns_msg_getflag(parsed, ns_f_qr) == 1);
  require(ns_msg_getflag(parsed, ns_f_rcode) == rcode);
  require(ns_msg_count(parsed, ns_s_an) == answers);
  require(ns_msg_count(parsed, ns_s_ar) == (query.has_edns ? 1 : 0));
  require(std::equal(query.question.begin(), query.question.end(), answer.begin() + 12));
  // It is an answer, and so no question.
  require(!parse_query(answer));
}

void check_query(std::span<const uint8_t> message, const Query& query) {
  require(query.name.size() <= 253);
  require(query.udp_size >= 512);
  for (char c : query.name)
    require((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.');
  // glibc reads the same.
  ns_msg parsed;
  ns_rr question;
  require(ns_initparse(message.data(), static_cast<int>(message.size()), &parsed) == 0);
  require(ns_parserr(&parsed, ns_s_qd, 0, &question) == 0);
  std::string name = ns_rr_name(question);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  require(name == (query.name.empty() ? "." : query.name));
  require(ns_rr_type(question) == query.type && ns_rr_class(question) == query.klass);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const uint8_t> message(data, size);
  auto parsed = parse_query(message);
  if (!parsed) {
    auto answer = refuse_unread(message);
    require(answer.empty() ||
            (answer.size() == 12 && answer[0] == data[0] && answer[1] == data[1]));
    require(answer.empty() == (size < 12 || (data[2] & 0x80)));
    return 0;
  }
  const Query& query = parsed.value();
  check_query(message, query);
  check_answer(query, answer_address(query, {198, 18, 0, 1}, 60), ns_r_noerror, 1);
  check_answer(query, answer_nothing(query), ns_r_noerror, 0);
  std::string_view text(reinterpret_cast<const char*>(data), size);
  check_answer(query, refuse(query, Rcode::refused, ExtendedError::other, text), ns_r_refused, 0);
  // Neither less nor more of it is a question.
  require(!parse_query(message.first(size - 1)));
  Message longer(data, data + size);
  longer.push_back(0);
  require(!parse_query(longer));
  return 0;
}
