// Moving bytes from socket to socket inside the kernel.
#pragma once

#include <vector>

#include "gate/traffic.h"
#include "http/stream.h"

namespace hako::gate {

/// Pipes that bytes pass through. One is held only while there are bytes in it, so idle connections
/// have none. Thread: one executor.
class PipePool {
 public:
  struct Pipe {
    Fd read, write;
  };

  /// resource_exhausted: no descriptors left.
  Result<Pipe> take();
  /// Only an empty one.
  void give_back(Pipe pipe);

 private:
  static constexpr size_t kMostKept = 64;
  std::vector<Pipe> kept_;
};

/// How a relay ended.
struct RelayEnd {
  bool orderly = false;  ///< both directions have ended by themselves
  std::string reason;
};

/// Copies bytes both ways until both directions have ended or one breaks; each direction ends on
/// its own. No more is read than the other side takes. `box` is the end in the box. Cancel: safe.
Task<RelayEnd> relay_splice(http::Stream& box, http::Stream& outside, PipePool& pipes,
                            Meter& meter);

/// One direction of it, until it ends.
Task<Result<void>> splice_one_way(http::Stream& from, http::Stream& to, PipePool& pipes,
                                  Meter& meter, Way way);

}  // namespace hako::gate
