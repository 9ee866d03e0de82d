// An entry of a list, as whoever asks for it writes it: an error of one line, or a target that is
// the same when it is written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "policy/target_match.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hako::policy;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto target = parse_target(text);
  if (!target) {
    const std::string& message = target.error().message();
    require(!message.empty() && message.find('\n') == std::string::npos);
    return 0;
  }
  std::string written = to_string(target.value());
  auto again = parse_target(written);
  require(again && again.value() == target.value() && to_string(again.value()) == written);
  require(covers({target.value()}, target.value()));
  if (target.value().kind == Target::Kind::network) {
    require(matches_address(target.value(), target.value().network));
  } else {
    std::string name = target.value().name;
    require(name.empty() || can_be_name(name));
    bool exact = target.value().kind == Target::Kind::name;
    require(name.empty() || matches_name(target.value(), name) == exact);
    require(matches_name(target.value(), exact ? name : name.empty() ? "a" : "a." + name));
  }
  return 0;
}
