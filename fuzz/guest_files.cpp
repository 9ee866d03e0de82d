// What programs in the box write into /etc/passwd and /etc/group, and paths from clients.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "guest/paths.h"
#include "guest/users.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hako::guest;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const User& user : parse_passwd(text))
    if (user.name.empty() || user.uid == UINT32_MAX || user.gid == UINT32_MAX) std::abort();
  for (const Group& group : parse_group(text))
    if (group.name.empty()) std::abort();
  auto path = resolve_path(text, "/home/user", "/work");
  if (path && (path.value().empty() || path.value().front() != '/')) std::abort();
  std::string clean = clean_path(text);
  if (clean.empty() || clean_path(clean) != clean) std::abort();
  (void)base_name(text);
  (void)directory_name(text);
  return 0;
}
