#include "wire/connect.h"

#include <algorithm>
#include <array>

#include "wire/json_text.h"

namespace hako::wire {
namespace {

struct CodeRow {
  ErrorCode code;
  std::string_view name;
  unsigned status;
};

// Where two of our codes share a Connect name, the first row is what the name reads back as.
constexpr std::array<CodeRow, 16> kCodes{{
    {ErrorCode::invalid_argument, "invalid_argument", 400},
    {ErrorCode::unauthenticated, "unauthenticated", 401},
    {ErrorCode::permission_denied, "permission_denied", 403},
    {ErrorCode::not_found, "not_found", 404},
    {ErrorCode::already_exists, "already_exists", 409},
    {ErrorCode::failed_precondition, "failed_precondition", 400},
    {ErrorCode::resource_exhausted, "resource_exhausted", 429},
    {ErrorCode::no_space, "resource_exhausted", 429},
    {ErrorCode::too_large, "resource_exhausted", 429},
    {ErrorCode::timed_out, "deadline_exceeded", 504},
    {ErrorCode::cancelled, "canceled", 499},
    {ErrorCode::unavailable, "unavailable", 503},
    {ErrorCode::no_capacity, "unavailable", 503},
    {ErrorCode::corrupted, "data_loss", 500},
    {ErrorCode::unsupported, "unimplemented", 501},
    {ErrorCode::internal, "internal", 500},
}};

const CodeRow& row_of(ErrorCode code) {
  for (const CodeRow& row : kCodes)
    if (row.code == code) return row;
  return kCodes.back();
}

void append_error(std::string& out, const Error& error) {
  out += "{\"code\":\"";
  out += connect_code(error.code());
  out += "\",\"message\":";
  append_json_string(out, error.message());
  out += '}';
}

ErrorCode code_of_status(unsigned status) {
  switch (status) {
    case 400:
      return ErrorCode::invalid_argument;
    case 401:
      return ErrorCode::unauthenticated;
    case 403:
      return ErrorCode::permission_denied;
    case 404:
      return ErrorCode::not_found;
    case 409:
      return ErrorCode::already_exists;
    case 429:
      return ErrorCode::resource_exhausted;
    case 501:
      return ErrorCode::unsupported;
    case 502:
    case 503:
      return ErrorCode::unavailable;
    case 504:
      return ErrorCode::timed_out;
    default:
      return ErrorCode::internal;
  }
}

/// The error in {"code":...,"message":...}. A code that is not a name leaves `fallback`.
Error read_error(const boost::json::object& object, ErrorCode fallback, std::string otherwise) {
  ErrorCode code = fallback;
  if (auto* name = object.if_contains("code"); name && name->is_string())
    code = error_code_from_connect(name->get_string());
  if (auto* text = object.if_contains("message"); text && text->is_string())
    otherwise = std::string(text->get_string());
  return Error(code, std::move(otherwise));
}

}  // namespace

bool is_media_type(std::string_view header, std::string_view type) {
  header = header.substr(0, header.find(';'));
  while (!header.empty() && header.back() == ' ') header.remove_suffix(1);
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(header.begin(), header.end(), type.begin(), type.end(),
                    [&](char a, char b) { return lower(a) == lower(b); });
}

std::string_view connect_code(ErrorCode code) {
  return row_of(code).name;
}
unsigned connect_status(ErrorCode code) {
  return row_of(code).status;
}

ErrorCode error_code_from_connect(std::string_view name) {
  for (const CodeRow& row : kCodes)
    if (row.name == name) return row.code;
  if (name == "out_of_range") return ErrorCode::invalid_argument;
  if (name == "aborted") return ErrorCode::failed_precondition;
  return ErrorCode::internal;
}

std::string connect_error_body(const Error& error) {
  std::string body;
  append_error(body, error);
  return body;
}

Error parse_connect_error(unsigned status, std::string_view body) {
  std::string otherwise = "HTTP status " + std::to_string(status);
  auto object = parse_object(body);
  if (!object) return Error(code_of_status(status), std::move(otherwise));
  return read_error(object.value(), code_of_status(status), std::move(otherwise));
}

void FrameDecoder::feed(std::string_view bytes) {
  // What was handed out has been used by now; drop it before it is worth a large move.
  if (position_ == buffer_.size()) {
    buffer_.clear();
    position_ = 0;
  } else if (position_ > 0) {
    buffer_.erase(0, position_);
    position_ = 0;
  }
  buffer_.append(bytes);
}

Result<std::optional<Frame>> FrameDecoder::next() {
  std::optional<Frame> frame;
  size_t available = buffer_.size() - position_;
  if (available == 0) return frame;
  auto byte = [&](size_t i) { return static_cast<uint8_t>(buffer_[position_ + i]); };
  uint8_t flags = byte(0);
  if (flags & kFrameCompressed)
    return Error(ErrorCode::invalid_argument, "compressed frames are not supported");
  if (flags & ~kFrameEnd) return Error(ErrorCode::invalid_argument, "unknown frame flags");
  if (available < kFrameHeaderBytes) return frame;
  size_t length = size_t{byte(1)} << 24 | size_t{byte(2)} << 16 | size_t{byte(3)} << 8 | byte(4);
  if (length > max_payload_)
    return Error(ErrorCode::too_large, "frame of " + std::to_string(length) +
                                           " bytes is over the limit of " +
                                           std::to_string(max_payload_));
  if (available - kFrameHeaderBytes < length) return frame;
  frame = Frame{flags, std::string_view(buffer_).substr(position_ + kFrameHeaderBytes, length)};
  position_ += kFrameHeaderBytes + length;
  return frame;
}

size_t begin_frame(std::string& out, uint8_t flags) {
  size_t start = out.size();
  out += static_cast<char>(flags);
  out.append(4, '\0');
  return start;
}

void end_frame(std::string& out, size_t start) {
  size_t length = out.size() - start - kFrameHeaderBytes;
  for (int i = 0; i < 4; ++i) out[start + 4 - i] = static_cast<char>(length >> (8 * i));
}

void append_end_frame(std::string& out) {
  size_t start = begin_frame(out, kFrameEnd);
  out += "{}";
  end_frame(out, start);
}

void append_end_frame(std::string& out, const Error& error) {
  size_t start = begin_frame(out, kFrameEnd);
  out += "{\"error\":";
  append_error(out, error);
  out += '}';
  end_frame(out, start);
}

Result<void> parse_end_frame(std::string_view payload) {
  HAKO_TRY(auto object, parse_object(payload));
  auto* error = object.if_contains("error");
  if (!error || error->is_null()) return ok();
  if (!error->is_object()) return Error(ErrorCode::corrupted, "malformed end of stream");
  return read_error(error->get_object(), ErrorCode::internal, "unknown error");
}

}  // namespace hako::wire
