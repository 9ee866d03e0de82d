#include "api/ended_boxes.h"

namespace hako::api {

void EndedBoxes::note(store::SandboxRecord record, std::string why) {
  std::string id = record.id;
  if (!ended_.insert_or_assign(id, Ended{std::move(record), std::move(why)}).second) return;
  order_.push_back(std::move(id));
  if (order_.size() <= kMost) return;
  ended_.erase(order_.front());
  order_.pop_front();
}

const EndedBoxes::Ended* EndedBoxes::find(const std::string& id) const {
  auto found = ended_.find(id);
  return found == ended_.end() ? nullptr : &found->second;
}

}  // namespace hako::api
