// What a VMM says on its control channel, should its guest have taken it over: however the bytes
// are cut, the same messages come out, and after an error nothing more.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/qemu/qmp.h"

namespace {

using namespace hako::engine::qmp;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string id_of(const std::optional<int64_t>& id) {
  return id ? std::to_string(*id) : "none";
}

std::string describe(const Message& message) {
  if (auto greeting = std::get_if<Greeting>(&message))
    return "greeting " + greeting->version + " " + greeting->package;
  if (auto answer = std::get_if<Return>(&message))
    return "return " + id_of(answer->id) + " " + boost::json::serialize(answer->value);
  if (auto failure = std::get_if<Failure>(&message))
    return "failure " + id_of(failure->id) + " " + failure->error_class + " " +
           failure->description;
  const auto& event = std::get<Event>(message);
  return "event " + event.name + " " + boost::json::serialize(event.data);
}

std::vector<std::string> decode(std::string_view bytes, size_t piece) {
  Parser parser;
  std::vector<std::string> seen;
  while (!bytes.empty()) {
    size_t n = std::min(piece, bytes.size());
    parser.feed(bytes.substr(0, n));
    bytes.remove_prefix(n);
    for (;;) {
      auto next = parser.next();
      if (!next) {
        auto again = parser.next();
        require(!again && again.error().message() == next.error().message());
        seen.push_back("error " + std::string(hako::to_string(next.error().code())));
        return seen;
      }
      if (!next.value()) break;
      seen.push_back(describe(*next.value()));
    }
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto whole = decode(bytes, size + 1);
  require(whole == decode(bytes, 1));
  require(whole == decode(bytes, 7));
  return 0;
}
