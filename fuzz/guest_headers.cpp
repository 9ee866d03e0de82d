// Headers of requests for files of a box, a line each: a range lies within the file, a date is read
// as it is written, and there is always an answer about the encoding.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "guest/headers.h"

namespace {

using namespace hako::guest;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_range(std::string_view header, uint64_t size) {
  Range range;
  RangeKind kind = parse_range(header, size, range);
  if (kind == RangeKind::whole) require(range.first == 0 && range.length == size);
  if (kind == RangeKind::part)
    require(range.length > 0 && range.first < size && range.length <= size - range.first);
}

}  // namespace

/// Input: Range, Accept-Encoding, a date, and a list of tags.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::array<std::string_view, 4> lines;
  for (auto& line : lines) {
    size_t end = std::min(rest.find('\n'), rest.size());
    line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (uint64_t length : {uint64_t(0), uint64_t(1), uint64_t(1000), UINT64_MAX})
    check_range(lines[0], length);
  auto encoding = choose_encoding(lines[1]);
  if (encoding == Encoding::identity) require(accepts_identity(lines[1]));
  if (!encoding) require(!accepts_identity(lines[1]));
  if (auto time = parse_http_date(lines[2])) {
    auto again = parse_http_date(http_date(*time));
    require(again == time);
  }
  hako::http::RequestHead head;
  for (const char* name : {"If-Match", "If-None-Match", "If-Range"}) {
    // As the server does, which has no fields that HTTP does not allow.
    if (lines[3].find_first_of("\r\n\0", 0, 3) != lines[3].npos || lines[3].size() > 4096) break;
    head.fields.set(name, lines[3]);
  }
  (void)check_conditions(head, "\"tag\"", 784111777);
  (void)range_applies(head, "\"tag\"", 784111777);
  return 0;
}
