#include "guest/headers.h"

#include <algorithm>
#include <charconv>
#include "wire/ascii.h"

namespace hako::guest {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Calls `use` with each element of a comma-separated list.
template <class Use>
void for_each_element(std::string_view list, Use use) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    std::string_view element = trimmed(list.substr(0, comma));
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    if (!element.empty()) use(element);
  }
}

/// Weight in thousandths: 1000 without one, 0 for what is no weight.
int weight_of(std::string_view parameters) {
  size_t at = parameters.find("q=");
  if (at == std::string_view::npos) at = parameters.find("Q=");
  if (at == std::string_view::npos) return 1000;
  std::string_view text = trimmed(parameters.substr(at + 2));
  text = text.substr(0, text.find(';'));
  int weight = 0, scale = 1000;
  for (size_t i = 0; i < text.size() && scale > 0; ++i) {
    if (text[i] == '.' && i == 1) continue;
    if (text[i] < '0' || text[i] > '9') return 0;
    weight += (text[i] - '0') * scale;
    scale /= 10;
  }
  return std::min(weight, 1000);
}

struct Weights {
  std::optional<int> identity, gzip, any;
};

Weights weights_of(std::string_view accept_encoding) {
  Weights weights;
  for_each_element(accept_encoding, [&](std::string_view element) {
    std::string_view name = trimmed(element.substr(0, element.find(';')));
    int weight = weight_of(element.substr(name.size()));
    if (wire::equal_ignoring_case(name, "identity")) weights.identity = weight;
    if (wire::equal_ignoring_case(name, "gzip")) weights.gzip = weight;
    if (name == "*") weights.any = weight;
  });
  return weights;
}

bool has_tag(std::string_view list, std::string_view tag) {
  bool found = false;
  for_each_element(list, [&](std::string_view element) {
    if (element.starts_with("W/")) element.remove_prefix(2);
    found = found || element == "*" || element == tag;
  });
  return found;
}

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t number = 0;
  auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || problem != std::errc() || stop != text.data() + text.size())
    return std::nullopt;
  return number;
}

std::optional<uint64_t> number_header(const http::RequestHead& head, std::string_view name) {
  return parse_number(head.header(name));
}

std::string http_date(time_t time) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[64];
  size_t length = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, length);
}

std::optional<time_t> parse_http_date(std::string_view text) {
  std::tm parts{};
  std::string copy(text);
  const char* stop = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (!stop || *stop != '\0') return std::nullopt;
  return ::timegm(&parts);
}

bool accepts_identity(std::string_view accept_encoding) {
  Weights weights = weights_of(accept_encoding);
  if (weights.identity) return *weights.identity > 0;
  return weights.any.value_or(1000) > 0;
}

std::optional<Encoding> choose_encoding(std::string_view accept_encoding) {
  Weights weights = weights_of(accept_encoding);
  bool identity = accepts_identity(accept_encoding);
  int gzip = weights.gzip.value_or(identity ? 0 : weights.any.value_or(0));
  if (gzip > 0 && (!identity || gzip >= weights.identity.value_or(0))) return Encoding::gzip;
  if (identity) return Encoding::identity;
  return std::nullopt;
}

RangeKind parse_range(std::string_view header, uint64_t size, Range& range) {
  constexpr std::string_view kUnit = "bytes=";
  range = {0, size};
  if (!header.starts_with(kUnit)) return RangeKind::whole;
  header.remove_prefix(kUnit.size());
  size_t dash = header.find('-');
  if (dash == std::string_view::npos || header.find(',') != std::string_view::npos)
    return RangeKind::whole;
  auto first = parse_number(header.substr(0, dash));
  auto last = parse_number(header.substr(dash + 1));
  if (!first && !last) return RangeKind::whole;
  if (!first) {
    if (dash != 0) return RangeKind::whole;
    if (*last == 0) return RangeKind::unsatisfiable;
    if (size == 0) return RangeKind::whole;  // of nothing there is no part to name
    range.length = std::min(*last, size);
    range.first = size - range.length;
    return RangeKind::part;
  }
  if (*first >= size) return RangeKind::unsatisfiable;
  if (!last && dash + 1 != header.size()) return RangeKind::whole;
  uint64_t end = std::min(last.value_or(size - 1), size - 1);
  if (end < *first) return RangeKind::whole;
  range = {*first, end - *first + 1};
  return RangeKind::part;
}

Condition check_conditions(const http::RequestHead& head, std::string_view tag, time_t modified) {
  if (auto match = head.header("If-Match"); !match.empty()) {
    if (!has_tag(match, tag)) return Condition::failed;
  } else if (auto since = parse_http_date(head.header("If-Unmodified-Since"))) {
    if (modified > *since) return Condition::failed;
  }
  if (auto match = head.header("If-None-Match"); !match.empty()) {
    if (has_tag(match, tag)) return Condition::not_modified;
  } else if (auto since = parse_http_date(head.header("If-Modified-Since"))) {
    if (modified <= *since) return Condition::not_modified;
  }
  return Condition::proceed;
}

bool range_applies(const http::RequestHead& head, std::string_view tag, time_t modified) {
  std::string_view condition = head.header("If-Range");
  return condition.empty() || condition == tag || condition == http_date(modified);
}

}  // namespace hako::guest
