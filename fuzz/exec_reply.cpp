// A guest's reply to process.Process/Start: whatever comes, the outcome is the same for every way
// the bytes are cut, and no more is kept than was asked for.
#include <cstdint>
#include <cstdlib>

#include "gate/exec_reply.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

struct Outcome {
  bool failed = false;
  bool complete = false;
  int exit_code = 0;
  std::string output;
};

Outcome parse(std::string_view bytes, size_t piece, size_t limit) {
  hako::gate::ExecReply reply(limit);
  Outcome outcome;
  while (!bytes.empty() && !outcome.failed) {
    outcome.failed = !reply.feed(bytes.substr(0, piece)).has_value();
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  require(reply.output().size() <= limit);
  outcome.complete = reply.complete();
  outcome.exit_code = reply.exit_code();
  outcome.output = std::string(reply.output());
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  size_t piece = 1 + data[0];
  size_t limit = data[1];
  std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  Outcome whole = parse(bytes, std::max<size_t>(bytes.size(), 1), limit);
  Outcome pieces = parse(bytes, piece, limit);
  require(whole.failed == pieces.failed);
  if (!whole.failed)
    require(whole.complete == pieces.complete && whole.exit_code == pieces.exit_code &&
            whole.output == pieces.output);
  return 0;
}
