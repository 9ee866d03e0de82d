// Short bodies of requests, as any holder of a key may send them, each read as every one of them: an
// error that does not carry the body back, or what is within its bounds.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/requests.h"

namespace {

using namespace hako::api;

void require(bool holds) {
  if (!holds) std::abort();
}

template <class T>
bool taken(const hako::Result<T>& parsed) {
  if (parsed) return true;
  require(!parsed.error().message().empty() && parsed.error().message().size() < 1024);
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes looked at as text.
  std::string_view body(reinterpret_cast<const char*>(data), size);
  if (auto timeout = parse_timeout(body); taken(timeout)) require(timeout.value().count() >= 0);
  if (auto refresh = parse_refresh(body); taken(refresh)) require(refresh.value().count() >= 0);
  for (Generation generation : {Generation::v1, Generation::v2})
    if (auto connect = parse_connect(body, generation); taken(connect))
      require(connect.value().timeout.count() >= 0);
  if (auto resume = parse_resume(body); taken(resume))
    require(resume.value().timeout.count() >= 0);
  if (auto fork = parse_fork(body); taken(fork))
    require(fork.value().count >= 1 && fork.value().count <= 100);
  taken(parse_pause(body));
  taken(parse_snapshot(body));
  taken(parse_rollback(body));
  if (auto request = parse_template(body, "base"); taken(request)) {
    require(!request.value().name.empty() && !request.value().from.empty());
    for (const TemplateStep& step : request.value().steps)
      require(step.command.find('\0') == step.command.npos);
  }
  return 0;
}
