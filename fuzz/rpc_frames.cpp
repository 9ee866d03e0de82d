// Frames from another process of ours that has been taken over: whatever comes, the decoder either
// gives whole messages or an error, the same for every way the bytes are cut.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "rpc/frame.h"

namespace {

using hako::rpc::FrameDecoder;
using hako::rpc::Message;

struct Outcome {
  std::vector<Message> messages;
  bool failed = false;
};

void require(bool holds) {
  if (!holds) std::abort();
}

Outcome decode(std::string_view bytes, size_t piece, int fds) {
  FrameDecoder decoder;
  Outcome outcome;
  for (int i = 0; i < fds; ++i) decoder.add_fd(hako::Fd(::dup(0)));
  size_t taken = 0;
  while (!bytes.empty() && !outcome.failed) {
    size_t n = std::min(piece, bytes.size());
    decoder.add_bytes(bytes.substr(0, n));
    bytes.remove_prefix(n);
    for (;;) {
      auto next = decoder.next();
      if (!next) {
        outcome.failed = true;
        break;
      }
      if (!next.value()) break;
      taken += next.value()->fds.size();
      outcome.messages.push_back(std::move(*next.value()));
    }
  }
  require(taken + decoder.held_fds() <= static_cast<size_t>(fds));
  return outcome;
}

void comes_back_as_it_went(const Message& message) {
  auto frame = hako::rpc::encode_frame(message);
  require(frame.has_value());
  FrameDecoder decoder;
  decoder.add_bytes(frame.value());
  for (size_t i = 0; i < message.fds.size(); ++i) decoder.add_fd(hako::Fd(::dup(0)));
  auto again = decoder.next();
  require(again && again.value());
  require(again.value()->kind == message.kind && again.value()->id == message.id &&
          again.value()->method == message.method &&
          again.value()->body.size() == message.body.size() &&
          again.value()->fds.size() == message.fds.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  int fds = data[0] & 3;
  size_t piece = 1 + (data[0] >> 2);
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Outcome whole = decode(bytes, bytes.size(), fds);
  for (const Message& message : whole.messages) comes_back_as_it_went(message);
  if (fds == 0) {
    // With descriptors the cut matters: all of them came with the first piece.
    Outcome pieces = decode(bytes, piece, fds);
    require(pieces.failed == whole.failed && pieces.messages.size() == whole.messages.size());
  }
  return 0;
}
