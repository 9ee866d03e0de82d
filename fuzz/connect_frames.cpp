// Connect frames and what is in them, from either side: however the bytes are cut, the same frames
// come out, none over the limit.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "wire/connect.h"
#include "wire/process.h"

namespace {

using namespace hako::wire;
constexpr size_t kLimit = 4096;

void require(bool holds) {
  if (!holds) std::abort();
}

std::vector<std::string> decode(std::string_view bytes, size_t piece) {
  FrameDecoder decoder(kLimit);
  std::vector<std::string> payloads;
  while (!bytes.empty()) {
    size_t n = std::min(piece, bytes.size());
    decoder.feed(bytes.substr(0, n));
    bytes.remove_prefix(n);
    for (;;) {
      auto next = decoder.next();
      if (!next) {
        payloads.push_back("error");
        return payloads;
      }
      if (!next.value()) break;
      require(next.value()->payload.size() <= kLimit);
      payloads.emplace_back(next.value()->payload);
    }
  }
  return payloads;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto whole = decode(bytes, size + 1);
  require(whole == decode(bytes, 1));
  require(whole == decode(bytes, 7));
  for (const auto& payload : whole) {
    auto event = parse_process_event(payload);
    if (event && event.value().kind == ProcessEvent::Kind::data) {
      std::string again;
      append_data_event(again, event.value().stream, event.value().bytes);
      auto second = parse_process_event(std::string_view(again).substr(kFrameHeaderBytes));
      require(second && second.value().bytes == event.value().bytes);
    }
    auto end = parse_end_frame(payload);
    if (!end) require(!connect_error_body(end.error()).empty());
  }
  return 0;
}
