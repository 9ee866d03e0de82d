// What a program in a box says first, against the name that allowed its connection: an answer does
// not change with more bytes, comes in bounded time, and a request that passes names nobody else.
#include <boost/beast/http.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "gate/agreement.h"

namespace {

namespace beast = boost::beast;
using namespace hako::gate;

constexpr char kName[] = "web.example";

void require(bool holds) {
  if (!holds) std::abort();
}

Expected expected() {
  Expected expected;
  expected.name = kName;
  expected.port = 80;
  return expected;
}

void check_opening(std::string_view bytes, Opening (*judge)(std::string_view, const Expected&)) {
  auto all = judge(bytes, expected());
  require(all.kind != Opening::Kind::incomplete || bytes.size() < kLongestOpening);
  require((all.kind == Opening::Kind::refused) == !all.reason.empty());
  auto half = judge(bytes.substr(0, bytes.size() / 2), expected());
  if (half.kind != Opening::Kind::incomplete) require(half.kind == all.kind);
}

/// The name in a host with a port and a dot or without, in any case.
bool names_ours(std::string host) {
  for (char& c : host)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  if (!host.starts_with(kName)) return false;
  host.erase(0, sizeof kName - 1);
  if (host.starts_with('.')) host.erase(0, 1);
  if (!host.starts_with(':')) return host.empty();
  host.erase(0, 1);
  return host.find_first_not_of("0123456789") == host.npos && std::atoi(host.c_str()) == 80;
}

void check_request(std::string_view bytes) {
  beast::http::request_parser<beast::http::empty_body> parser;
  beast::error_code error;
  parser.put(boost::asio::buffer(bytes), error);
  if (!parser.is_header_done()) return;
  hako::http::RequestHead head;
  head.method = parser.get().method();
  head.target = std::string(parser.get().target());
  head.fields = parser.get();
  if (request_refusal(head, expected())) return;
  require(head.method != hako::http::Verb::connect);
  require(head.fields.count(hako::http::Field::host) == 1);
  require(names_ours(std::string(head.header("Host"))));
  size_t scheme = head.target.find("://");
  if (head.target.starts_with('/') || head.target == "*") return;
  require(scheme != head.target.npos);
  std::string rest = head.target.substr(scheme + 3);
  require(names_ours(rest.substr(0, rest.find_first_of("/?#"))));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_opening(bytes, judge_tls);
  check_opening(bytes, judge_opening);
  check_request(bytes);
  return 0;
}
