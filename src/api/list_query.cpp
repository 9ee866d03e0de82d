#include "api/list_query.h"

#include <charconv>

#include "api/requests.h"
#include "base/clock.h"
#include "base/encoding.h"

namespace hako::api {
namespace {

constexpr int kMostPerPage = 100;
constexpr size_t kLongestFilter = 64 << 10;
constexpr size_t kLongestToken = 256;
constexpr std::string_view kSeparator = "__";
constexpr std::string_view kOldestFirst = "__asc";

Error wrong(std::string_view parameter, std::string_view what) {
  return Error(ErrorCode::invalid_argument,
               "query parameter " + std::string(parameter) + " " + std::string(what));
}

std::optional<std::string> decode_twice(std::string_view text) {
  auto once = percent_decode(text, true);
  return once ? percent_decode(*once, false) : std::nullopt;
}

Result<void> read_states(const http::RequestHead& head, ListRequest& request) {
  auto states = head.parameter("state");
  request.query.paused = true;
  if (!states || states->empty()) return ok();
  request.query.running = request.query.paused = false;
  std::string_view rest = *states;
  while (!rest.empty()) {
    size_t comma = rest.find(',');
    std::string_view state = rest.substr(0, comma);
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
    if (state == "running") {
      request.query.running = true;
    } else if (state == "paused") {
      request.query.paused = true;
    } else {
      return wrong("state", "must be running, paused, or both joined by a comma");
    }
  }
  return ok();
}

}  // namespace

Result<int> read_page_limit(const http::RequestHead& head) {
  auto text = head.parameter("limit");
  if (!text || text->empty()) return kMostPerPage;
  int limit = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), limit);
  if (error != std::errc() || end != text->data() + text->size() || limit < 1 ||
      limit > kMostPerPage) {
    return wrong("limit", "must be a whole number from 1 to 100");
  }
  return limit;
}

Result<TextPairs> decode_metadata_filter(std::string_view rest) {
  if (rest.size() > kLongestFilter) return wrong("metadata", "is too long");
  TextPairs pairs;
  while (!rest.empty()) {
    size_t end = rest.find('&');
    std::string_view pair = rest.substr(0, end);
    rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
    if (pair.empty()) continue;
    size_t equals = pair.find('=');
    auto key = decode_twice(pair.substr(0, equals));
    auto value = decode_twice(equals == pair.npos ? "" : pair.substr(equals + 1));
    if (!key || !value) return wrong("metadata", "is not encoded as key=value pairs");
    if (pairs.size() == kMetadataLimits.pairs) return wrong("metadata", "has too many pairs");
    pairs.emplace_back(std::move(*key), std::move(*value));
  }
  return pairs;
}

std::string write_page_token(const store::Position& position, store::Order order) {
  std::string plain = std::to_string(position.started_ms);
  plain.append(kSeparator).append(position.id);
  if (order == store::Order::oldest_first) plain += kOldestFirst;
  std::string token = base64_encode(plain);
  while (!token.empty() && token.back() == '=') token.pop_back();
  for (char& c : token) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return token;
}

Result<store::Position> read_page_token(std::string_view token, store::Order order) {
  auto plain = token.size() <= kLongestToken ? base64_decode(token) : std::nullopt;
  if (!plain) return wrong("nextToken", "is not a token of this server");
  std::string_view text = *plain;
  bool oldest_first = text.size() > kOldestFirst.size() &&
                      text.substr(text.size() - kOldestFirst.size()) == kOldestFirst;
  if (oldest_first) text.remove_suffix(kOldestFirst.size());
  size_t separator = text.find(kSeparator);
  store::Position position;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), position.started_ms);
  bool whole = separator != text.npos && error == std::errc() && end == text.data() + separator;
  if (!whole || separator + kSeparator.size() == text.size()) {
    return wrong("nextToken", "is not a token of this server");
  }
  if (oldest_first != (order == store::Order::oldest_first)) {
    return wrong("nextToken", "belongs to a list in the other order");
  }
  position.id = text.substr(separator + kSeparator.size());
  return position;
}

Result<ListRequest> parse_list(const http::RequestHead& head, int64_t now_ms) {
  ListRequest request;
  store::SandboxQuery& query = request.query;
  query.alive_at_ms = now_ms;
  HAKO_TRYV(read_states(head, request));
  HAKO_TRY(query.limit, read_page_limit(head));
  if (auto order = head.parameter("order"); order && !order->empty()) {
    if (*order != "asc" && *order != "desc") return wrong("order", "must be asc or desc");
    if (*order == "asc") query.order = store::Order::oldest_first;
  }
  if (auto after = head.parameter("startedAfter"); after && !after->empty()) {
    auto time = from_rfc3339(*after);
    if (!time) return wrong("startedAfter", "must be a time such as 2026-01-31T12:00:00Z");
    query.started_from_ms = to_unix_ms(*time);
  }
  if (auto name = head.parameter("template"); name && !name->empty()) query.template_name = *name;
  if (auto metadata = head.parameter("metadata")) {
    HAKO_TRY(query.metadata, decode_metadata_filter(*metadata));
  }
  if (auto token = head.parameter("nextToken"); token && !token->empty()) {
    HAKO_TRY(query.behind, read_page_token(*token, query.order));
  }
  return request;
}

}  // namespace hako::api
