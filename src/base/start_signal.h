// A process that is only found again by what its starter writes down must not run before that.
#pragma once

#include "base/fd.h"
#include "base/process.h"

namespace hako {

/// For the starter. Owns a pipe until the signal is given; the process gets its reading end as
/// descriptor 3. One that goes without having given it ends the process.
class StartSignal {
 public:
  /// Adds to `spec` what the process waits for. Errors: no descriptors are left.
  static Result<StartSignal> add_to(ProcessSpec& spec);
  /// Once the process was started and written down: lets it go on.
  void give();

 private:
  // Theirs stays open until then: writing to a process that has ended must not end the starter, by
  // SIGPIPE.
  Fd theirs_, ours_;
};

/// For the process, as the first thing in main(): waits for the signal, if whoever started it wants
/// that. False if that one ended before: nobody knows of this process, and it must end.
bool wait_for_start_signal();

}  // namespace hako
