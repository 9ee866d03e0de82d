#include "gate/message_peek.h"

#include <algorithm>

#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::gate {
namespace {

constexpr size_t kLongestProblem = 200;

}  // namespace

MessagePeek::MessagePeek(const http::RequestHead& head, const wire::Method* method, size_t& budget)
    : method_(method), budget_(budget) {
  std::string_view type = head.header("Content-Type");
  auto says = [&](std::string_view known) { return wire::is_media_type(type, known); };
  if (!method) return;
  framed_ = says(wire::kConnectStreamType) || says(wire::kConnectStreamProtoType);
  binary_ = says(wire::kConnectUnaryProtoType) || says(wire::kConnectStreamProtoType);
  if (!framed_ && !binary_ && !says(wire::kConnectUnaryType))
    fail("its content type is none that the daemon takes");
  // Of single messages alone, as the daemon does not look at it otherwise.
  std::string_view encoding = head.header("Content-Encoding");
  if (!framed_ && !encoding.empty() && encoding != "identity") fail("it is compressed");
}

MessagePeek::~MessagePeek() {
  forget();
}

void MessagePeek::feed(std::string_view piece) {
  if (done() || piece.empty()) return;
  // One byte beyond what may be kept tells that it is too much.
  piece = piece.substr(0, kLargestMessage + wire::kFrameHeaderBytes + 1 - kept_.size());
  if (budget_ + piece.size() > kLargestBudget)
    return fail_as_hidden(429, "too many messages were on their way at once");
  kept_.append(piece);
  budget_ += piece.size();
  if (framed_) return take_frame();
  if (kept_.size() > kLargestMessage) fail_as_too_long();
}

void MessagePeek::finish() {
  if (done()) return;
  if (framed_) return fail("it ends too early");
  read(kept_);
}

void MessagePeek::take_frame() {
  // Only the first is looked at: where one is all that may come, the guest refuses others.
  if ((kept_[0] & wire::kFrameCompressed) != 0) return fail("it is compressed");
  if (kept_.size() < wire::kFrameHeaderBytes) return;
  auto byte = [&](size_t i) { return size_t{static_cast<uint8_t>(kept_[i])}; };
  size_t length = byte(1) << 24 | byte(2) << 16 | byte(3) << 8 | byte(4);
  if (length > kLargestMessage) return fail_as_too_long();
  if (kept_.size() - wire::kFrameHeaderBytes < length) return;
  read(std::string_view(kept_).substr(wire::kFrameHeaderBytes, length));
}

void MessagePeek::read(std::string_view payload) {
  auto object = binary_ ? wire::proto_to_json(*method_->request, payload)
                        : wire::parse_object(payload);
  if (!object) return fail(object.error().message());
  message_ = std::move(object).value();
  forget();
}

void MessagePeek::fail(std::string problem) {
  problem.resize(std::min(problem.size(), kLongestProblem));
  problem_ = std::move(problem);
  forget();
}

void MessagePeek::fail_as_hidden(unsigned status, std::string problem) {
  hidden_ = status;
  fail(std::move(problem));
}

void MessagePeek::fail_as_too_long() {
  fail_as_hidden(413, "it is longer than " + std::to_string(kLargestMessage) + " bytes");
}

void MessagePeek::forget() {
  budget_ -= kept_.size();
  kept_.clear();
  kept_.shrink_to_fit();
}

}  // namespace hako::gate
