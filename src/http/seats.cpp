#include "http/seats.h"

namespace hako::http::detail {

Seats::Seat::Seat(Seats& seats) : all_(seats.all_) {
  place_ = all_->insert(all_->end(), this);
}

Seats::Seat::~Seat() {
  if (place_ != all_->end()) all_->erase(place_);
}

bool Seats::free_one() {
  enum Rank { idle_stranger, busy_stranger, idle_known, never };
  auto rank_of = [](const Seat& seat) {
    if (!seat.known_) return seat.busy_ ? busy_stranger : idle_stranger;
    return seat.busy_ ? never : idle_known;
  };
  auto spared = all_->end();
  Rank best = never;
  for (auto place = all_->begin(); place != all_->end() && best != idle_stranger; ++place) {
    Rank rank = rank_of(**place);
    if (rank >= best) continue;
    best = rank;
    spared = place;
  }
  if (spared == all_->end()) return false;
  Seat& seat = **spared;
  all_->erase(spared);
  seat.place_ = all_->end();
  seat.task_.cancel();
  return true;
}

}  // namespace hako::http::detail
