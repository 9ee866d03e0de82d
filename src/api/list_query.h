// The query of sandbox lists: filters and pages. Pure.
#pragma once

#include <string>
#include <string_view>

#include "api/field_reader.h"
#include "http/message.h"
#include "store/store.h"

namespace hako::api {

struct ListRequest {
  store::SandboxQuery query;
};

/// The filter as it is after the first decoding of the query. Clients encode it three times: the
/// pairs as a query string, each key and value within it once more. invalid_argument for a broken
/// escape, or over the limits of metadata.
Result<TextPairs> decode_metadata_filter(std::string_view once_decoded);

/// Parameters of GET /v2/sandboxes. `now_ms`: who has ended by then is not listed.
/// Errors: invalid_argument names the parameter.
Result<ListRequest> parse_list(const http::RequestHead& head, int64_t now_ms);

/// How many to a page: 1 to 100, and 100 unless `limit` says so. invalid_argument.
Result<int> read_page_limit(const http::RequestHead& head);

/// A page's end as an opaque token, and back. The token is good for one order only.
std::string write_page_token(const store::Position& position, store::Order order);
Result<store::Position> read_page_token(std::string_view token, store::Order order);

}  // namespace hako::api
