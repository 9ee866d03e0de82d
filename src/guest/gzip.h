// gzip, in pieces. The calls compute for as long as their input is large: for threads of the
// blocking pool.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

struct z_stream_s;

namespace hako::guest {

class Compressor {
 public:
  Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
  ~Compressor();

  /// Appends to `out` what there is to send after `bytes`; everything, with the end, at the last.
  /// What does not shrink is stored as it is from then on: trying costs more than sending.
  void add(std::string_view bytes, bool last, std::string& out);

 private:
  void run(int flush, std::string& out);

  std::unique_ptr<z_stream_s> stream_;
  bool storing_ = false;
};

/// Several gzip files behind each other are one, as gzip(1) has it.
class Decompressor {
 public:
  Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  ~Decompressor();

  bool wants_input() const;
  /// Only when wants_input(). `bytes` must stay valid until it does again.
  void feed(std::string_view bytes);
  /// Fills `into` as far as the input goes: how much. invalid_argument: not gzip.
  Result<size_t> read(std::span<char> into);
  /// Here the input may end.
  bool complete() const { return complete_; }

 private:
  std::unique_ptr<z_stream_s> stream_;
  bool complete_ = false;
  bool full_ = false;  ///< the last read filled its room: there may be more without input
};

}  // namespace hako::guest
