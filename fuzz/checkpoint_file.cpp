// Checkpoint files: as they are, and with right checksums around any content.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "engine/checkpoint_store.h"

namespace {

using namespace hako;

void require(bool holds) {
  if (!holds) std::abort();
}

void load(int file) {
  ::lseek(file, 0, SEEK_SET);
  auto loaded = engine::load_checkpoint("/proc/self/fd/" + std::to_string(file), {"fuzz", {}});
  if (loaded) require(bool(engine::validate(loaded.value().memory, 256 * 1024)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto bytes = std::as_bytes(std::span(data, size));
  Fd plain(::memfd_create("fuzz", MFD_CLOEXEC));
  require(bool(write_all(plain.get(), bytes)));
  load(plain.get());

  Fd sealed(::memfd_create("fuzz", MFD_CLOEXEC));
  auto writer = engine::SealedWriter::begin(sealed.get(), {"fuzz", {}});
  require(bool(writer) && writer.value().write(bytes) && writer.value().finish());
  load(sealed.get());
  return 0;
}
