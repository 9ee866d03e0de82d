#include "api/upload_label.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/encoding.h"
#include "wire/routing.h"

namespace hako::api {
namespace {

/// Takes every `label` out of the query; their values.
std::vector<std::string> take_query_labels(http::RequestHead& head) {
  std::vector<std::string> taken;
  std::string kept;
  std::string_view rest = head.query();
  while (!rest.empty()) {
    size_t end = std::min(rest.find('&'), rest.size());
    std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    size_t equals = std::min(pair.find('='), pair.size());
    if (percent_decode(pair.substr(0, equals), true) == "label") {
      auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())), true);
      taken.push_back(value.value_or("?"));
    } else {
      kept.append(kept.empty() ? "" : "&").append(pair);
    }
  }
  if (!taken.empty()) head.target = std::string(head.path()) + (kept.empty() ? "" : "?") + kept;
  return taken;
}

std::vector<std::string> take_header_labels(http::RequestHead& head) {
  std::vector<std::string> taken;
  boost::beast::string_view name(kLabelHeader.data(), kLabelHeader.size());
  auto [begin, end] = head.fields.equal_range(name);
  for (auto field = begin; field != end; ++field) taken.emplace_back(field->value());
  head.fields.erase(name);
  return taken;
}

}  // namespace

Result<std::optional<UploadLabel>> take_upload_label(http::RequestHead& head) {
  wire::RoutingFacts facts;
  facts.path = head.path();
  facts.host = head.header("Host");
  facts.sandbox_id = head.header("E2b-Sandbox-Id");
  facts.sandbox_port = head.header("E2b-Sandbox-Port");
  auto route = wire::route_of(facts);
  bool for_daemon = route.kind != wire::Route::Kind::box ||
                    route.target.port == wire::kDaemonPort;
  bool upload = for_daemon && head.method == http::Verb::post && head.path() == "/files";
  std::vector<std::string> words = take_header_labels(head);
  if (!words.empty() && !upload) {
    return Error(ErrorCode::invalid_argument,
                 std::string(kLabelHeader) + " belongs to POST /files of a sandbox");
  }
  if (upload) {
    for (std::string& word : take_query_labels(head)) words.push_back(std::move(word));
  }
  if (words.empty()) return std::optional<UploadLabel>();
  UploadLabel found;
  for (const std::string& word : words) {
    auto label = policy::label_from(word);
    if (!label) {
      return Error(ErrorCode::invalid_argument,
                   "the label of an upload must be public, internal, confidential or secret");
    }
    found.label = policy::high_water(found.label, *label);
  }
  if (route.kind != wire::Route::Kind::box) {
    return Error(ErrorCode::invalid_argument,
                 "an upload with a label must name its sandbox in E2b-Sandbox-Id");
  }
  found.box = route.target.box;
  return std::optional<UploadLabel>(std::move(found));
}

}  // namespace hako::api
