#include "api/query.h"

#include <charconv>

namespace hako::api {

Result<std::optional<int64_t>> query_number(const http::RequestHead& head, std::string_view name,
                                            int64_t most) {
  auto text = head.parameter(name);
  if (!text || text->empty()) return std::optional<int64_t>();
  int64_t number = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error == std::errc() && end == text->data() + text->size() && number >= 0 && number <= most) {
    return std::optional<int64_t>(number);
  }
  return Error(ErrorCode::invalid_argument, "query parameter " + std::string(name) +
                                                " must be a whole number from 0 to " +
                                                std::to_string(most));
}

}  // namespace hako::api
