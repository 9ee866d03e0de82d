// How much of boxes' calls is in memory at once: those that must be read whole before they may go on.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace hako::gate {

/// Counts bytes, and has none. All boxes together get `all`, one of them `box`; and when others have
/// taken all, each still gets `each`, so that nobody is shut out. Thread: one.
class BodyRoom {
 public:
  struct Sizes {
    size_t all = size_t{1} << 30;
    size_t box = size_t{64} << 20;
    size_t each = size_t{1} << 20;
  };

  /// What one call has taken. Gives it back when it goes. The room outlives it.
  class Taken {
   public:
    Taken(BodyRoom& room, std::string box) : room_(room), box_(std::move(box)) {}
    ~Taken() { room_.give_back(box_, bytes_); }
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

    /// Whether there is room for so many more bytes, which are then taken.
    bool grow(size_t bytes);

   private:
    BodyRoom& room_;
    std::string box_;
    size_t bytes_ = 0;
  };

  BodyRoom() = default;
  explicit BodyRoom(Sizes sizes) : sizes_(sizes) {}
  BodyRoom(const BodyRoom&) = delete;

  size_t taken() const { return taken_; }

 private:
  bool take(const std::string& box, size_t bytes);
  void give_back(const std::string& box, size_t bytes);

  const Sizes sizes_;
  size_t taken_ = 0;
  std::map<std::string, size_t> boxes_;  ///< those that have some
};

}  // namespace hako::gate
