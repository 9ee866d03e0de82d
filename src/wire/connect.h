// Connect RPC over HTTP/1.1: media types, envelopes, error bodies, code names. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::wire {

inline constexpr std::string_view kConnectUnaryType = "application/json";
inline constexpr std::string_view kConnectStreamType = "application/connect+json";
inline constexpr std::string_view kConnectUnaryProtoType = "application/proto";
inline constexpr std::string_view kConnectStreamProtoType = "application/connect+proto";

inline constexpr uint8_t kFrameCompressed = 1;
inline constexpr uint8_t kFrameEnd = 2;
inline constexpr size_t kFrameHeaderBytes = 5;

/// Whether a Content-Type header says `type`, parameters aside.
bool is_media_type(std::string_view header, std::string_view type);

/// The Connect name of `code` ("deadline_exceeded"); the HTTP status of a unary error.
std::string_view connect_code(ErrorCode code);
unsigned connect_status(ErrorCode code);
/// The inverse of connect_code; `internal` for names we have no word for.
ErrorCode error_code_from_connect(std::string_view name);

/// {"code":"...","message":"..."}.
std::string connect_error_body(const Error& error);
/// The error in a non-200 unary response body, whatever it holds.
Error parse_connect_error(unsigned status, std::string_view body);

struct Frame {
  uint8_t flags = 0;
  std::string_view payload;  ///< valid until the decoder is next touched
  bool is_end() const { return flags & kFrameEnd; }
};

/// Takes a stream apart into frames, fed in pieces of any size.
class FrameDecoder {
 public:
  /// `max_payload`: longest payload accepted, bytes.
  explicit FrameDecoder(size_t max_payload) : max_payload_(max_payload) {}

  void feed(std::string_view bytes);
  /// The next whole frame, or nothing until more is fed.
  /// too_large: announced length over the limit; invalid_argument: compressed, or unknown flags.
  /// After an error the stream is beyond repair and every further call repeats it.
  Result<std::optional<Frame>> next();
  /// No part of a frame is waiting: here a stream may end.
  bool at_boundary() const { return position_ == buffer_.size(); }

 private:
  size_t max_payload_;
  size_t position_ = 0;
  std::string buffer_;
};

/// Writes a frame in place: begin_frame(), append the payload, end_frame() with what begin
/// returned.
size_t begin_frame(std::string& out, uint8_t flags = 0);
void end_frame(std::string& out, size_t start);
/// The frame that ends a stream well, or with an error.
void append_end_frame(std::string& out);
void append_end_frame(std::string& out, const Error& error);
/// What an end frame says: success, or the error in it.
Result<void> parse_end_frame(std::string_view payload);

}  // namespace hako::wire
