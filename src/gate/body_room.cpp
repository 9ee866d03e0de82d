#include "gate/body_room.h"

namespace hako::gate {

bool BodyRoom::Taken::grow(size_t bytes) {
  if (!room_.take(box_, bytes)) return false;
  bytes_ += bytes;
  return true;
}

bool BodyRoom::take(const std::string& box, size_t bytes) {
  auto found = boxes_.find(box);
  size_t has = found == boxes_.end() ? 0 : found->second;
  if (bytes > sizes_.box || has > sizes_.box - bytes) return false;
  bool fits = bytes <= sizes_.all && taken_ <= sizes_.all - bytes;
  if (!fits && has + bytes > sizes_.each) return false;
  boxes_[box] = has + bytes;
  taken_ += bytes;
  return true;
}

void BodyRoom::give_back(const std::string& box, size_t bytes) {
  auto found = boxes_.find(box);
  if (found == boxes_.end()) return;
  taken_ -= bytes;
  found->second -= bytes;
  if (found->second == 0) boxes_.erase(found);
}

}  // namespace hako::gate
