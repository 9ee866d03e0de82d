#include "rpc/frame.h"

#include <boost/json.hpp>

#include <algorithm>
#include <chrono>

#include "base/encoding.h"

namespace hako::rpc {
namespace {

namespace json = boost::json;

constexpr int64_t kLargestErrno = 4095;
constexpr int64_t kLongestRetry = 24 * 3600;  // seconds

void put_u32(char* to, uint32_t value) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<char>(value >> (8 * i));
}

uint32_t get_u32(const char* from) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= uint32_t{static_cast<unsigned char>(from[i])} << (8 * i);
  return value;
}

Error malformed(std::string what) {
  return Error(ErrorCode::corrupted, "malformed message: " + std::move(what));
}

Result<uint64_t> id_of(const json::value& value) {
  if (auto number = value.if_uint64()) return *number;
  auto number = value.if_int64();
  if (!number || *number < 0) return malformed("id");
  return static_cast<uint64_t>(*number);
}

std::optional<Error> error_of(const json::value& value) {
  auto object = value.if_object();
  if (!object) return std::nullopt;
  auto code = object->if_contains("code");
  auto text = object->if_contains("message");
  if (!code || !code->is_string() || !text || !text->is_string()) return std::nullopt;
  Error error(error_code_from(code->get_string()), std::string(text->get_string()));
  if (auto number = object->if_contains("errno")) {
    if (!number->is_int64() || number->get_int64() < 1 || number->get_int64() > kLargestErrno)
      return std::nullopt;
    error = std::move(error).with_os_error(static_cast<int>(number->get_int64()));
  }
  if (auto seconds = object->if_contains("retry_after_s")) {
    if (!seconds->is_int64() || seconds->get_int64() < 1 || seconds->get_int64() > kLongestRetry)
      return std::nullopt;
    error = std::move(error).with_retry_after(std::chrono::seconds(seconds->get_int64()));
  }
  return error;
}

Result<Message> message_of(std::string_view text) {
  json::error_code failure;
  json::value value = json::parse(text, failure);
  if (failure) return malformed(failure.message());
  auto object = value.if_object();
  if (!object) return malformed("not an object");

  Message message;
  auto id = object->if_contains("id");
  auto method = object->if_contains("method");
  auto error = object->if_contains("error");
  if (!id && !method) return malformed("neither id nor method");
  if (id) {
    HAKO_TRY(auto number, id_of(*id));
    message.id = number;
  }
  if (method) {
    auto name = method->if_string();
    if (!name || name->empty() || name->size() > kLongestMethod || error)
      return malformed("method");
    message.method = std::string(*name);
    message.kind = id ? Message::Kind::request : Message::Kind::notice;
  } else if (error) {
    message.error = error_of(*error);
    if (!message.error) return malformed("error");
    message.kind = Message::Kind::failure;
  } else {
    message.kind = Message::Kind::answer;
  }
  if (auto body = object->if_contains("body")) {
    if (!body->is_object() || error) return malformed("body");
    message.body = std::move(body->get_object());
  }
  return message;
}

}  // namespace

Result<std::string> encode_frame(const Message& message) {
  bool names_method =
      message.kind == Message::Kind::request || message.kind == Message::Kind::notice;
  if (names_method && (message.method.empty() || message.method.size() > kLongestMethod))
    return Error(ErrorCode::invalid_argument, "message needs a method of at most 128 bytes");
  if (message.fds.size() > kMostFdsInFrame)
    return Error(ErrorCode::invalid_argument, "message carries too many descriptors");

  json::object object;
  if (message.kind != Message::Kind::notice) object["id"] = message.id;
  if (names_method) object["method"] = message.method;
  if (message.kind == Message::Kind::failure) {
    json::object error;
    error["code"] = to_string(message.error->code());
    error["message"] = message.error->message();
    if (int os_error = message.error->os_error(); os_error > 0 && os_error <= kLargestErrno)
      error["errno"] = os_error;
    if (int64_t wait = message.error->retry_after().count(); wait > 0)
      error["retry_after_s"] = std::min(wait, kLongestRetry);
    object["error"] = std::move(error);
  } else {
    object["body"] = message.body;
  }
  // Texts of guests and VMMs travel in here. The reader would refuse a frame that is not UTF-8,
  // and end the connection with whoever only passed the text on.
  std::string text = valid_utf8(json::serialize(object));
  if (text.size() > kLongestFrame)
    return Error(ErrorCode::too_large, "message of " + std::to_string(text.size()) + " bytes");
  std::string frame(kFrameHeader, '\0');
  put_u32(frame.data(), static_cast<uint32_t>(text.size()));
  put_u32(frame.data() + 4, static_cast<uint32_t>(message.fds.size()));
  frame += text;
  return frame;
}

Result<std::optional<Message>> FrameDecoder::next() {
  std::optional<Message> none;
  if (buffered_bytes() < kFrameHeader) {
    // At most the start of one frame is here, so more than one frame's descriptors are too many;
    // with nothing here at all there is no frame that could declare any.
    if (fds_.size() > (buffered_bytes() == 0 ? 0 : kMostFdsInFrame))
      return Error(ErrorCode::corrupted, "descriptors came without a frame that declares them");
    drop_consumed();
    return none;
  }
  const char* header = buffer_.data() + consumed_;
  size_t length = get_u32(header);
  size_t fd_count = get_u32(header + 4);
  if (length > kLongestFrame)
    return Error(ErrorCode::too_large, "frame of " + std::to_string(length) + " bytes");
  if (fd_count > kMostFdsInFrame)
    return Error(ErrorCode::corrupted, "frame declares too many descriptors");
  // They ride on the frame's first byte, so all of them are here by now.
  if (fds_.size() < fd_count)
    return Error(ErrorCode::corrupted, "frame declares more descriptors than came");
  if (buffered_bytes() < kFrameHeader + length) {
    if (fds_.size() > fd_count)
      return Error(ErrorCode::corrupted, "more descriptors came than the frame declares");
    drop_consumed();
    return none;
  }
  HAKO_TRY(auto message,
           message_of(std::string_view(buffer_).substr(consumed_ + kFrameHeader, length)));
  consumed_ += kFrameHeader + length;
  for (size_t i = 0; i < fd_count; ++i) {
    message.fds.push_back(std::move(fds_.front()));
    fds_.pop_front();
  }
  std::optional<Message> some(std::move(message));
  return some;
}

void FrameDecoder::drop_consumed() {
  if (consumed_ == 0) return;
  buffer_.erase(0, consumed_);
  consumed_ = 0;
}

}  // namespace hako::rpc
