#include "guest/gzip.h"

#include <zlib.h>

#include <array>
#include <new>

namespace hako::guest {
namespace {

constexpr int kWindowBits = 15;
constexpr int kGzip = 16;  // added to the window bits: gzip's header and checksum
constexpr int kMemory = 8;
constexpr size_t kOutput = 64 << 10;
/// Pieces below this size tell nothing about the whole.
constexpr size_t kTelling = 16 << 10;

Bytef* input(std::string_view bytes) {
  // SAFETY: zlib does not write to its input.
  return reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
}

}  // namespace

Compressor::Compressor() : stream_(std::make_unique<z_stream>()) {
  // The fastest level: the bytes travel within one machine most of the time.
  if (::deflateInit2(stream_.get(), Z_BEST_SPEED, Z_DEFLATED, kWindowBits + kGzip, kMemory,
                     Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::bad_alloc();
}

Compressor::~Compressor() {
  ::deflateEnd(stream_.get());
}

void Compressor::run(int flush, std::string& out) {
  std::array<char, kOutput> room;
  do {
    stream_->next_out = reinterpret_cast<Bytef*>(room.data());
    stream_->avail_out = room.size();
    ::deflate(stream_.get(), flush);
    out.append(room.data(), room.size() - stream_->avail_out);
  } while (stream_->avail_out == 0);
}

void Compressor::add(std::string_view bytes, bool last, std::string& out) {
  size_t before = out.size();
  stream_->next_in = input(bytes);
  stream_->avail_in = static_cast<uInt>(bytes.size());
  run(last ? Z_FINISH : storing_ || bytes.size() < kTelling ? Z_NO_FLUSH : Z_BLOCK, out);
  if (last || storing_ || bytes.size() < kTelling) return;
  if (out.size() - before < bytes.size() / 16 * 15) return;
  storing_ = true;
  stream_->next_in = nullptr;
  stream_->avail_in = 0;
  // All input has been flushed, so that the change of level has nothing left to write.
  std::array<char, kOutput> room;
  stream_->next_out = reinterpret_cast<Bytef*>(room.data());
  stream_->avail_out = room.size();
  ::deflateParams(stream_.get(), Z_NO_COMPRESSION, Z_DEFAULT_STRATEGY);
  out.append(room.data(), room.size() - stream_->avail_out);
}

Decompressor::Decompressor() : stream_(std::make_unique<z_stream>()) {
  if (::inflateInit2(stream_.get(), kWindowBits + kGzip) != Z_OK) throw std::bad_alloc();
}

Decompressor::~Decompressor() {
  ::inflateEnd(stream_.get());
}

bool Decompressor::wants_input() const {
  return stream_->avail_in == 0 && !full_;
}

void Decompressor::feed(std::string_view bytes) {
  stream_->next_in = input(bytes);
  stream_->avail_in = static_cast<uInt>(bytes.size());
}

Result<size_t> Decompressor::read(std::span<char> into) {
  stream_->next_out = reinterpret_cast<Bytef*>(into.data());
  stream_->avail_out = static_cast<uInt>(into.size());
  while (stream_->avail_out > 0) {
    if (complete_ && stream_->avail_in > 0) {
      ::inflateReset(stream_.get());
      complete_ = false;
    }
    int outcome = ::inflate(stream_.get(), Z_NO_FLUSH);
    if (outcome == Z_STREAM_END) {
      complete_ = true;
      if (stream_->avail_in == 0) break;
    } else if (outcome == Z_BUF_ERROR) {
      break;  // wants more input
    } else if (outcome != Z_OK) {
      return Error(ErrorCode::invalid_argument, "the body is not valid gzip");
    } else if (stream_->avail_in == 0 && stream_->avail_out > 0) {
      break;
    }
  }
  full_ = stream_->avail_out == 0 && !complete_;
  return into.size() - stream_->avail_out;
}

}  // namespace hako::guest
