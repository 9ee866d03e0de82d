// Uploaded forms: the same parts however the bytes are cut.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "wire/multipart.h"

namespace {

using namespace hako::wire;
using Kind = MultipartDecoder::Kind;

/// Everything the decoder says about `body`, as one text.
std::string describe(std::string_view body, std::string_view boundary, size_t piece) {
  MultipartDecoder decoder(boundary);
  std::string all;
  for (;;) {
    auto next = decoder.next();
    if (!next) return all + "<error>";
    const auto& event = next.value();
    switch (event.kind) {
      case Kind::need_more:
        if (body.empty()) return all + "<cut>";
        decoder.feed(body.substr(0, piece));
        body.remove_prefix(std::min(piece, body.size()));
        break;
      case Kind::part_begin:
        all += "<part " + event.name + event.filename.value_or("-") + ">";
        break;
      case Kind::data:
        all += event.data;
        break;
      case Kind::part_end:
        all += "</part>";
        break;
      case Kind::end:
        return all + "<end>";
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)multipart_boundary(bytes.substr(0, bytes.find('\n')));
  // The limits on headers and preamble depend on how much has come: only short bodies must agree.
  std::string whole = describe(bytes, "b", size + 1);
  if (size < 8000 && whole != describe(bytes, "b", 1)) std::abort();
  return 0;
}
