// How a connection begins: the answer does not change with more bytes, there is one in the end, and
// whatever our own HTTP parser takes for a request, or could with more bytes, is one.
#include <algorithm>
#include <boost/beast/http.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "wire/http_start.h"

namespace {

namespace beast = boost::beast;
using hako::wire::ConnectionStart;
using hako::wire::judge_start;
using hako::wire::kLongestStart;

void require(bool holds) {
  if (!holds) std::abort();
}

ConnectionStart judge(std::string_view text) {
  return judge_start({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

bool beast_takes(std::string_view text) {
  beast::http::request_parser<beast::http::empty_body> parser;
  parser.header_limit(UINT32_MAX);
  beast::error_code error;
  parser.put(boost::asio::buffer(text), error);
  return parser.is_header_done();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto all = judge(text);
  if (size >= kLongestStart) require(all != ConnectionStart::incomplete);
  if (beast_takes(text)) require(all == ConnectionStart::http);
  size_t step = std::max<size_t>(1, size / 64);
  for (size_t length = 0; length < size; length += step) {
    auto part = judge(text.substr(0, length));
    require(part == ConnectionStart::incomplete || part == all);
  }
  if (all == ConnectionStart::incomplete) return 0;
  for (std::string_view more : {" HTTP/1.1\r\n", "\n", "/", "\x16\x03"})
    require(judge(std::string(text) + std::string(more)) == all);
  if (all != ConnectionStart::http)
    require(!beast_takes(std::string(text) + " / HTTP/1.1\r\nHost: a\r\n\r\n"));
  // Empty lines before it do not hide a request. (Some belong to the PROXY protocol.)
  bool plain = data[0] > ' ' && size + 2 <= kLongestStart;
  if (all == ConnectionStart::http && plain)
    require(judge("\r\n" + std::string(text)) == ConnectionStart::http);
  return 0;
}
