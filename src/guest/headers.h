// What request headers about files say: pure functions.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace hako::guest {

/// A number that is nothing but decimal digits.
std::optional<uint64_t> parse_number(std::string_view text);
/// The same of a header's value.
std::optional<uint64_t> number_header(const http::RequestHead& head, std::string_view name);

/// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(time_t time);
std::optional<time_t> parse_http_date(std::string_view text);

enum class Encoding { identity, gzip };
/// The encoding to answer in; nothing where neither is acceptable. Identity where only "*" or
/// nothing speaks for gzip.
std::optional<Encoding> choose_encoding(std::string_view accept_encoding);
/// Whether plain bytes are an answer that the client takes.
bool accepts_identity(std::string_view accept_encoding);

struct Range {
  uint64_t first = 0;
  uint64_t length = 0;
};
enum class RangeKind { whole, part, unsatisfiable };
/// One range is served; of several, and of what is not understood, the whole file is.
RangeKind parse_range(std::string_view header, uint64_t size, Range& range);

enum class Condition { proceed, not_modified, failed };
/// What a request's conditions come to for a file with this tag and time (RFC 9110, 13.2.2).
Condition check_conditions(const http::RequestHead& head, std::string_view tag, time_t modified);
/// Whether the Range header counts, as far as If-Range goes.
bool range_applies(const http::RequestHead& head, std::string_view tag, time_t modified);

}  // namespace hako::guest
