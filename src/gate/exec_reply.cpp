#include "gate/exec_reply.h"

#include "wire/process.h"

namespace hako::gate {

Result<void> ExecReply::feed(std::string_view bytes) {
  decoder_.feed(bytes);
  for (;;) {
    HAKO_TRY(auto frame, decoder_.next());
    if (!frame) return ok();
    if (ended_) return Error(ErrorCode::corrupted, "the guest went on after the end of its reply");
    if (frame->is_end()) {
      ended_ = true;
      HAKO_TRYV(wire::parse_end_frame(frame->payload));
      if (!exit_code_)
        return Error(ErrorCode::corrupted, "the guest did not say how the process ended");
    } else {
      HAKO_TRYV(take_event(frame->payload));
    }
  }
}

Result<void> ExecReply::take_event(std::string_view payload) {
  HAKO_TRY(auto event, wire::parse_process_event(payload));
  if (exit_code_ && event.kind != wire::ProcessEvent::Kind::keepalive)
    return Error(ErrorCode::corrupted, "the guest reported an event after the process had ended");
  if (event.kind == wire::ProcessEvent::Kind::end) exit_code_ = event.end.exit_code;
  if (event.kind != wire::ProcessEvent::Kind::data) return ok();
  output_ += event.bytes;
  // Twice the limit may pile up before the front is dropped, so that each byte moves once.
  if (output_.size() > 2 * output_limit_ + kLongestFrame)
    output_.erase(0, output_.size() - output_limit_);
  return ok();
}

std::string_view ExecReply::output() const {
  std::string_view output(output_);
  if (output.size() > output_limit_) output.remove_prefix(output.size() - output_limit_);
  return output;
}

}  // namespace hako::gate
