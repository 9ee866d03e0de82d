// Queries of lists: whatever a client writes behind the question mark, an error of one line, or a
// query within its bounds; and tokens of pages, which clients hand back, are good for one order.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "api/list_query.h"
#include "api/requests.h"

namespace {

using namespace hako;
using namespace hako::api;

void require(bool holds) {
  if (!holds) std::abort();
}

void try_token(std::string_view text) {
  auto rising = read_page_token(text, store::Order::oldest_first);
  auto falling = read_page_token(text, store::Order::newest_first);
  require(!rising || !falling);
  if (!falling) return;
  std::string written = write_page_token(falling.value(), store::Order::newest_first);
  // It may get longer than tokens are: what it says in more digits than are needed is not ours.
  auto again = read_page_token(written, store::Order::newest_first);
  if (again) require(again.value().id == falling.value().id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes looked at as text.
  std::string_view text(reinterpret_cast<const char*>(data), size);
  http::RequestHead head;
  head.target = "/v2/sandboxes?" + std::string(text);
  auto request = parse_list(head, 1'700'000'000'000);
  if (request) {
    const store::SandboxQuery& query = request.value().query;
    require(query.limit >= 1 && query.limit <= 100);
    require(query.metadata.size() <= kMetadataLimits.pairs);
  } else {
    require(request.error().message().size() < 1024);
    require(request.error().message().find('\n') == std::string::npos);
  }
  try_token(text);
  return 0;
}
