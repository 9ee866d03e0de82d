// What the node asks of guests, through us: it parses nothing they say itself.
#pragma once

#include <boost/json/object.hpp>

#include "gate/guest_connection.h"

namespace hako::gate {

struct ExecRequest {
  std::string cmd;
  std::vector<std::string> args;
  std::string user;  ///< empty: the default user
  std::vector<std::pair<std::string, std::string>> envs;
  std::optional<std::string> cwd;
  Duration deadline{};
  size_t output_limit = 64 << 10;
};

struct ExecOutcome {
  int exit_code = -1;  ///< -1 when killed by a signal
  std::string output;  ///< hostile bytes
};

/// All calls: unavailable when the machine goes meanwhile, timed_out. Cancel: safe.
class GuestCaller {
 public:
  explicit GuestCaller(MachineTable& table) : table_(table) {}

  /// Returns once the guest's daemon answers that it is well.
  Task<Result<void>> wait_ready(MachineRef machine, Duration deadline);
  /// failed_precondition with the guest's text.
  Task<Result<void>> init(MachineRef machine, boost::json::object init, Duration deadline);
  /// Stops every program in the guest, and writes its disk out. Then nothing moves there before
  /// thaw() or init(). failed_precondition with the guest's text, and then nothing is stopped;
  /// unsupported by guests from before there was this. After any other error nobody knows.
  Task<Result<void>> freeze(MachineRef machine, Duration deadline);
  /// Lets them go on. A guest that is not frozen: success. Errors: as those of freeze().
  Task<Result<void>> thaw(MachineRef machine, Duration deadline);
  /// Runs a program in the guest to its end. Errors the guest reports, corrupted.
  Task<Result<ExecOutcome>> exec(MachineRef machine, ExecRequest request);
  /// Ends every connection with the guest: idle ones by FIN, waiting for the guest's own; those in
  /// use by reset.
  Task<Result<void>> quiesce(MachineRef machine);

 private:
  Task<Result<void>> knock(MachineRef machine);
  Task<Result<void>> keep_knocking(MachineRef machine);
  Task<Result<http::Response>> ask(MachineRef machine, http::Request request, size_t limit);
  Task<Result<void>> post(MachineRef machine, std::string target, std::string body);
  Task<Result<ExecOutcome>> run(MachineRef machine, ExecRequest request);

  MachineTable& table_;
};

}  // namespace hako::gate
