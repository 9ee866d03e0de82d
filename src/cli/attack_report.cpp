#include "cli/attack_report.h"

#include <boost/json/parse.hpp>

#include "cli/api.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;

namespace {

constexpr std::string_view kRefused = "refused";
constexpr std::string_view kSkipped = "skipped";

}  // namespace

Result<void> AttackReport::feed(std::string_view bytes) {
  bytes_ += bytes.size();
  if (bytes_ > kMostBytes) return Error(ErrorCode::too_large, "the attacks print without an end");
  rest_ += bytes;
  size_t start = 0;
  for (size_t end; (end = rest_.find('\n', start)) != std::string::npos; start = end + 1) {
    HAKO_TRYV(take(std::string_view(rest_).substr(start, end - start)));
  }
  rest_.erase(0, start);
  return ok();
}

Result<void> AttackReport::take(std::string_view line) {
  json::error_code failed;
  json::value result = json::parse({line.data(), line.size()}, failed);
  std::string verdict = text_member(result, "verdict");
  if (failed || verdict.empty() || text_member(result, "id").empty())
    return Error(ErrorCode::corrupted, "the attacks printed what is no result of theirs");
  if (verdict == kSkipped) return ok();
  if (verdict == kRefused) ++refused_;
  results_.push_back(std::move(result));
  return ok();
}

std::string AttackReport::text() const {
  std::string text;
  for (const auto& result : results_) {
    std::string verdict = text_member(result, "verdict");
    if (verdict == kRefused) continue;
    text += printable_field(verdict + " " + text_member(result, "id") + ": " +
                            text_member(result, "title") + ": " + text_member(result, "how")) +
            "\n";
  }
  return text + std::to_string(tried()) + " attacks tried, " + std::to_string(refused()) +
         " refused, " + std::to_string(tried() - refused()) + " not\n";
}

}  // namespace hako::cli
